"""What Vertex AI tells the trainer through environment variables, and the file through which a tuning trial answers.

Reference: https://cloud.google.com/vertex-ai/docs/training/code-requirements#environment-variables
"""

import dataclasses
import json
import math
import pathlib
import time
from collections.abc import Mapping

from trainer.errors import UserError

_DEFAULT_METRIC_FILE = "/tmp/hypertune/output.metrics"  # noqa: S108 - where the collector of Vertex AI looks
_MAX_METRIC_LINES = 100
_CHIEF_TYPES = ("chief", "master", "workerpool0")


@dataclasses.dataclass(frozen=True)
class ClusterTask:
    """This process among those of the job: `type` as the cluster calls it, `index` within its type."""

    type: str = "workerpool0"
    index: int = 0
    num_tasks: int = 1

    @property
    def is_chief(self) -> bool:
        """True for the one process that writes checkpoints and exports."""
        return self.type in _CHIEF_TYPES and self.index == 0


@dataclasses.dataclass(frozen=True)
class CloudEnvironment:
    """Where the job's files go, and which trial of a tuning job this is; empty strings outside the cloud.

    `checkpoint_dir`, `export_dir` and `tensorboard_dir` have no slash at the end. Inside a tuning job they differ
    from trial to trial. What the user says on the command line comes before any of them.
    """

    checkpoint_dir: str = ""
    export_dir: str = ""
    tensorboard_dir: str = ""
    job_id: str = ""
    trial_id: str = ""
    metric_file: str = ""
    task: ClusterTask = ClusterTask()


def read(environment: Mapping[str, str]) -> CloudEnvironment:
    """Returns what the variables (`os.environ`) say.

    Raises:
      UserError: when CLUSTER_SPEC or TF_CONFIG is not the JSON that Vertex AI writes.
    """
    trial_id = environment.get("CLOUD_ML_TRIAL_ID", "")
    is_tuning = bool(trial_id) or "CLOUD_ML_HP_METRIC_FILE" in environment
    return CloudEnvironment(
        checkpoint_dir=environment.get("AIP_CHECKPOINT_DIR", "").rstrip("/"),
        export_dir=environment.get("AIP_MODEL_DIR", "").rstrip("/"),
        tensorboard_dir=environment.get("AIP_TENSORBOARD_LOG_DIR", "").rstrip("/"),
        job_id=environment.get("CLOUD_ML_JOB_ID", ""),
        trial_id=trial_id,
        metric_file=environment.get("CLOUD_ML_HP_METRIC_FILE", _DEFAULT_METRIC_FILE) if is_tuning else "",
        task=_cluster_task(environment),
    )


def report_metrics(environment: CloudEnvironment, metrics: Mapping[str, float], global_step: int) -> None:
    """Tells the tuning service how this trial does: one JSON line for each finite metric.

    Outside a tuning job it does nothing. The form is that of the `cloudml-hypertune` package, whose file keeps the
    last 100 lines.
    """
    if not environment.metric_file:
        return
    path = pathlib.Path(environment.metric_file)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for name, value in metrics.items():
        if math.isfinite(value):
            lines.append(_metric_line(environment.trial_id, name, value, global_step))
    path.write_text("".join(f"{line}\n" for line in lines[-_MAX_METRIC_LINES:]), encoding="utf-8")


def _metric_line(trial_id: str, name: str, value: float, global_step: int) -> str:
    fields = {
        "timestamp": time.time(),
        "trial": trial_id or "0",
        name: str(float(value)),
        "global_step": str(global_step),
    }
    return json.dumps(fields, sort_keys=True)


def _cluster_task(environment: Mapping[str, str]) -> ClusterTask:
    for variable in ("CLUSTER_SPEC", "TF_CONFIG"):
        if environment.get(variable):
            return _parse_cluster(environment[variable], variable)
    return ClusterTask()


def _parse_cluster(text: str, variable: str) -> ClusterTask:
    try:
        spec = json.loads(text)
        task = spec["task"]
        num_tasks = sum(len(hosts) for hosts in spec["cluster"].values())
        return ClusterTask(type=str(task["type"]), index=int(task["index"]), num_tasks=max(1, num_tasks))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = f"unset {variable} outside Vertex AI"
        raise UserError(f"not a cluster description ({error!r})", where=variable, remedy=remedy) from error
