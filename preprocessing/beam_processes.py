"""Beam's worker processes on this machine (`--num_workers`): Ctrl-C is not for them, and a job that fails ends them.

Beam waits for each to finish what it does. After Ctrl-C that is for ever: it waits for data that nobody sends. So it
does for the answer of one that was killed.
"""

import contextlib
import os
import pathlib
import signal
import sys
import threading
import time
from typing import Any

import grpc
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from preprocessing import process_pool
from preprocessing.errors import UserError

_BEAMS_PROGRAM = b"apache_beam.runners.worker.sdk_worker_main"

_started: "list[WorkerProcess]" = []
_lost: "list[WorkerProcess]" = []


def kill_all() -> None:
    """Kills the processes that are left of a job that has failed."""
    while _started:
        _started.pop().kill()


def require_none_lost() -> None:
    """Raises UserError when one was killed by somebody else, which Beam tells in many ways."""
    if _lost:
        what = "a process that converts images was killed, perhaps because the memory is full"
        raise UserError(what, remedy="lower --num_workers")


class WorkerProcess(worker_handlers.SubprocessSdkWorkerHandler):
    """One process, in place of Beam's own class once `register` was called."""

    def __init__(self, command_line: bytes, *arguments: Any):
        program = command_line.replace(_BEAMS_PROGRAM, b"preprocessing.beam_worker %d" % os.getpid())
        super().__init__(b"exec " + program, *arguments)  # or the process would be a shell's
        self._thread: threading.Thread | None = None
        self._is_over = False

    def start_worker(self) -> None:
        """Starts the process."""
        from apache_beam.runners.portability import local_job_service  # noqa: PLC0415 - only for several processes

        worker = local_job_service.SubprocessSdkWorker(
            self._worker_command_line, self.control_address, self.provision_info, self.worker_id
        )
        _hide_broken_connections()
        with process_pool.ctrl_c_waits():
            self._thread = threading.Thread(target=self._run, args=(worker,), name="worker process")
            self._thread.start()
            _started.append(self)

    def _run(self, worker: Any) -> None:
        try:
            worker.run()
        except RuntimeError:  # it ended with another status than 0
            if not self._is_over:
                _lost.append(self)
            while not self._is_over:
                self._answer_instead()
                time.sleep(0.1)

    def _answer_instead(self) -> None:
        """Answers what Beam has asked the process that is no more."""
        for future in list(self.control_conn._futures_by_id.values()):
            if not future.is_done():
                future.set(
                    beam_fn_api_pb2.InstructionResponse(instruction_id=future.instruction_id, error="was killed")
                )

    def close(self) -> None:
        """Ends the process: at once when an exception ends the job."""
        if sys.exc_info()[0] is not None:
            self.kill()
        self._is_over = True
        super().close()

    def stop_worker(self) -> None:
        """Waits for the end of the process."""
        if self._thread is not None:
            self._thread.join()
            if self in _started:
                _started.remove(self)

    def kill(self) -> None:
        """Kills the process, if it is still there, and waits for its end."""
        self._is_over = True
        while self._thread is not None and self._thread.is_alive():
            # The thread may not have started the process yet, or both may have ended meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children = pathlib.Path(f"/proc/self/task/{self._thread.native_id}/children").read_text()
                for process_id in children.split():
                    os.kill(int(process_id), signal.SIGKILL)
            self._thread.join(timeout=0.1)


def _hide_broken_connections() -> None:
    """Keeps Beam's threads from showing that the connection to a process that was killed is no more: the job fails."""
    shown = threading.excepthook

    def show(arguments: threading.ExceptHookArgs) -> None:
        if not issubclass(arguments.exc_type, grpc.RpcError):
            shown(arguments)

    threading.excepthook = show


def register() -> None:
    """Has Beam use `WorkerProcess` for the next job."""
    _lost.clear()
    worker_handlers.WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)(WorkerProcess)
