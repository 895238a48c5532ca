"""Shows a Vertex AI job's states and log lines while it runs, and turns its end into an exit status."""

import time
from collections.abc import Callable

from google.cloud import aiplatform_v1

from trainer.errors import UserError
from trainer.submit import vertex_service
from trainer.submit.cloud_logging import JobLog

POLL_INTERVAL_SECS = 20.0
JOB_FAILED_EXIT_STATUS = 1


def follow(
    get_job: Callable[[], vertex_service.Job], log: JobLog, *, poll_interval_secs: float = POLL_INTERVAL_SECS
) -> int:
    """Prints states and log lines until the job has ended; returns 0 when it succeeded, else 1."""
    try:
        job = vertex_service.wait(get_job, _Reporter(log).report, poll_interval_secs=poll_interval_secs)
    except KeyboardInterrupt:
        print(
            "no longer following; the job goes on, and is stopped in the console or with gcloud ai custom-jobs cancel"
        )
        raise
    if job.state == aiplatform_v1.JobState.JOB_STATE_SUCCEEDED:
        return 0
    print(f"the job ended in {_state_name(job)}: {job.error.message or 'see its log'}")
    return JOB_FAILED_EXIT_STATUS


class _Reporter:
    """Prints what is new at each look."""

    def __init__(self, log: JobLog):
        self._log: JobLog | None = log
        self._last_state = ""

    def report(self, job: vertex_service.Job) -> None:
        state = _state_name(job)
        if state != self._last_state:
            print(f"{time.strftime('%H:%M:%S')} {state}", flush=True)
            self._last_state = state
        self._print_log()

    def _print_log(self) -> None:
        if self._log is None:
            return
        try:
            for line in self._log.new_lines():
                print(f"  {line}", flush=True)
        except UserError as error:
            # Seeing the log needs a role of its own; following the state does not.
            print(f"log: {error}")
            self._log = None


def _state_name(job: vertex_service.Job) -> str:
    return job.state.name.removeprefix("JOB_STATE_").lower()
