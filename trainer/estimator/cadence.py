"""When it is time again."""

import time


class Cadence:
    """Every so many steps, or every so many seconds; never, when neither is given."""

    def __init__(self, steps: int | None, secs: float | None, first_step: int):
        self._steps = steps
        self._secs = secs
        self.restart(first_step)

    def restart(self, step: int) -> None:
        """Counts from here."""
        self._last_step = step
        self._last_secs = time.monotonic()

    def is_due(self, step: int) -> bool:
        """Returns whether it is time again."""
        if self._steps:
            return step - self._last_step >= self._steps
        return self._secs is not None and time.monotonic() - self._last_secs >= self._secs
