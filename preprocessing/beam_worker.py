"""The program of one of Beam's worker processes: Beam's own, which ends with the process that started it, however."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """Has this process killed when the one with this id ends, which started it.

    Beam's waits for ever for what it is to do next.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        sys.exit(1)


def main() -> None:
    """Works for the process whose id is the argument."""
    end_with(int(sys.argv[1]))
    from apache_beam.runners.worker import sdk_worker_main  # noqa: PLC0415 - takes seconds to load

    sdk_worker_main.main([])


if __name__ == "__main__":
    main()
