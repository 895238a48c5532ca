"""A local Vertex AI for jobs: JobService by its published stub, in memory."""

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from google.cloud import aiplatform_v1

from tests.trainer.submit import cloud_servers
from tests.trainer.submit.cloud_servers import Faults, Method, NotFoundError

_STATES = aiplatform_v1.JobState


class VertexServer:
    """Keeps jobs, and lets each go through `states` at successive looks."""

    def __init__(self, states: Sequence[Any] = (_STATES.JOB_STATE_RUNNING, _STATES.JOB_STATE_SUCCEEDED)):
        self.custom_jobs: dict[str, aiplatform_v1.CustomJob] = {}
        self.tuning_jobs: dict[str, aiplatform_v1.HyperparameterTuningJob] = {}
        self.calls: list[tuple[str, Any]] = []
        self.address = ""
        self._states = states
        self._num_looks: dict[str, int] = {}
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def serve(self, faults: Faults) -> Iterator["VertexServer"]:
        """Serves until the end of the block."""
        with cloud_servers.grpc_server(self._methods(), faults) as (self.address, self.calls):
            yield self

    def _methods(self) -> dict[str, Method]:
        v1 = aiplatform_v1
        jobs = {
            "CreateCustomJob": Method(v1.CreateCustomJobRequest, v1.CustomJob, self._create_custom_job),
            "GetCustomJob": Method(
                v1.GetCustomJobRequest, v1.CustomJob, lambda r: self._look(self.custom_jobs, r.name)
            ),
            "ListCustomJobs": Method(v1.ListCustomJobsRequest, v1.ListCustomJobsResponse, self._list_custom_jobs),
            "CreateHyperparameterTuningJob": Method(
                v1.CreateHyperparameterTuningJobRequest, v1.HyperparameterTuningJob, self._create_tuning_job
            ),
            "GetHyperparameterTuningJob": Method(
                v1.GetHyperparameterTuningJobRequest,
                v1.HyperparameterTuningJob,
                lambda r: self._look(self.tuning_jobs, r.name),
            ),
            "ListHyperparameterTuningJobs": Method(
                v1.ListHyperparameterTuningJobsRequest,
                v1.ListHyperparameterTuningJobsResponse,
                lambda r: v1.ListHyperparameterTuningJobsResponse(
                    hyperparameter_tuning_jobs=self._matching(self.tuning_jobs, r.filter)
                ),
            ),
        }
        return {f"/google.cloud.aiplatform.v1.JobService/{name}": method for name, method in jobs.items()}

    def _create_custom_job(self, request: Any) -> aiplatform_v1.CustomJob:
        return self._add(self.custom_jobs, f"{request.parent}/customJobs", request.custom_job)

    def _create_tuning_job(self, request: Any) -> aiplatform_v1.HyperparameterTuningJob:
        collection = f"{request.parent}/hyperparameterTuningJobs"
        return self._add(self.tuning_jobs, collection, request.hyperparameter_tuning_job)

    def _add(self, jobs: dict[str, Any], collection: str, job: Any) -> Any:
        job.name = f"{collection}/{next(self._numbers)}"
        job.state = _STATES.JOB_STATE_PENDING
        jobs[job.name] = job
        return job

    def _look(self, jobs: dict[str, Any], name: str) -> Any:
        if name not in jobs:
            raise NotFoundError(name)
        index = self._num_looks.get(name, 0)
        self._num_looks[name] = index + 1
        jobs[name].state = self._states[min(index, len(self._states) - 1)]
        return jobs[name]

    def _list_custom_jobs(self, request: Any) -> aiplatform_v1.ListCustomJobsResponse:
        return aiplatform_v1.ListCustomJobsResponse(custom_jobs=self._matching(self.custom_jobs, request.filter))

    def _matching(self, jobs: dict[str, Any], wanted: str) -> list[Any]:
        key, value = re.fullmatch(r'labels\.([\w-]+)="([^"]*)"', wanted).groups()
        return [job for job in jobs.values() if job.labels.get(key) == value]
