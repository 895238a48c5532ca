"""Builds a HyperparameterTuningJob: which settings Vertex AI varies, over what, and towards which metric.

Reference: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/StudySpec
"""

import dataclasses
import re
import typing
from collections.abc import Sequence

from google.cloud import aiplatform_v1

from trainer import config
from trainer.errors import UserError
from trainer.submit import vertex_request
from trainer.submit.container import Container
from trainer.submit.hardware import Hardware

_Spec = aiplatform_v1.StudySpec.ParameterSpec
# What `trainer.models.classifier` measures, and a trial reports, in one number.
_METRIC = re.compile(r"loss|mean_loss|top_[1-9]\d*_accuracy")
_FORM = "write NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=VALUE,VALUE,..."


@dataclasses.dataclass(frozen=True)
class TunedSetting:
    """A setting that is varied: between two numbers (`is_range`), or over a list of values."""

    name: str
    values: tuple[typing.Any, ...]
    is_range: bool
    is_log_scale: bool = False

    def __post_init__(self):
        where = f"--tune={self.name}"
        if self.is_range and not all(isinstance(value, (int, float)) for value in self.values):
            raise UserError("only numbers have a range", where=where, remedy="list the values, separated by commas")
        if self.is_range and self.values[0] >= self.values[1]:
            raise UserError("the range is empty", where=where, remedy="write the lower end first")
        if self.is_range and self.name.endswith("batch_size"):
            raise UserError("most numbers in a range are no batch size", where=where, remedy="list the values")
        if self.is_log_scale and self.values[0] <= 0:
            raise UserError("a logarithmic range cannot start at 0", where=where, remedy="give a lower end above 0")


@dataclasses.dataclass(frozen=True)
class Study:
    """What to tune, and how long to look."""

    tuned: tuple[TunedSetting, ...]
    metric: str
    is_maximized: bool
    algorithm: str
    max_trials: int
    parallel_trials: int

    def __post_init__(self):
        if not _METRIC.fullmatch(self.metric):
            remedy = "give top_1_accuracy, top_5_accuracy (or another k), mean_loss or loss"
            raise UserError("is no metric of the evaluation", where=f"--metric={self.metric}", remedy=remedy)
        if self.max_trials < 1:
            raise UserError("out of range", where=f"--max_trials={self.max_trials}", remedy="give at least 1")
        if not 1 <= self.parallel_trials <= self.max_trials:
            remedy = f"give 1 to {self.max_trials} (--max_trials)"
            raise UserError("out of range", where=f"--parallel_trials={self.parallel_trials}", remedy=remedy)
        names = [setting.name for setting in self.tuned]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise UserError("is given twice", where=f"--tune={twice.pop()}", remedy="give each setting once")


def parse_tuned_setting(word: str) -> TunedSetting:
    """Parses `base_learning_rate=0.01..1:log` or `network=resnet18,resnet50`.

    Raises:
      UserError: on a misspelt setting, a value of another type, or another form.
    """
    name, _, text = word.partition("=")
    field = config.settings().get(name)
    if field is None:
        raise config.unknown_key(name, config.settings())
    if field.type not in (int, float, str, bool):
        raise UserError("is a list, which cannot be varied", where=f"--tune={name}", remedy="tune another setting")
    is_log_scale = text.endswith(":log")
    ends = text.removesuffix(":log").split("..")
    is_range = len(ends) == 2
    if not text or len(ends) > 2 or (is_log_scale and not is_range):
        raise UserError("cannot be read", where=f"--tune={word}", remedy=_FORM)
    values = tuple(_parse_value(name, value) for value in (ends if is_range else text.split(",")))
    return TunedSetting(name, values, is_range, is_log_scale)


def tuning_job(
    container: Container, machine: Hardware, options: vertex_request.JobOptions, study: Study
) -> aiplatform_v1.HyperparameterTuningJob:
    """Returns the job; each trial runs `container` with the varied settings as further `--key=value` arguments."""
    return aiplatform_v1.HyperparameterTuningJob(
        display_name=options.display_name,
        labels=dict(options.labels),
        max_trial_count=study.max_trials,
        parallel_trial_count=study.parallel_trials,
        study_spec=_study_spec(study),
        trial_job_spec=vertex_request.job_spec(container, machine, options),
    )


def _parse_value(name: str, text: str) -> typing.Any:
    value = config.parse_overrides([f"--{name}={text}"])[name]
    config.ExperimentConfig().replace(**{name: value})  # refuses what is out of the setting's range
    return value


def _study_spec(study: Study) -> aiplatform_v1.StudySpec:
    goals = aiplatform_v1.StudySpec.MetricSpec.GoalType
    algorithms = aiplatform_v1.StudySpec.Algorithm
    return aiplatform_v1.StudySpec(
        metrics=[
            aiplatform_v1.StudySpec.MetricSpec(
                metric_id=study.metric, goal=goals.MAXIMIZE if study.is_maximized else goals.MINIMIZE
            )
        ],
        parameters=[_parameter(setting) for setting in study.tuned],
        algorithm={"random": algorithms.RANDOM_SEARCH, "grid": algorithms.GRID_SEARCH}.get(
            study.algorithm, algorithms.ALGORITHM_UNSPECIFIED
        ),
    )


def _parameter(setting: TunedSetting) -> _Spec:
    scales = _Spec.ScaleType
    scale = scales.UNIT_LOG_SCALE if setting.is_log_scale else scales.UNIT_LINEAR_SCALE
    if not setting.is_range:
        return _choices(setting.name, setting.values)
    low, high = setting.values
    if isinstance(low, int):
        integers = _Spec.IntegerValueSpec(min_value=low, max_value=high)
        return _Spec(parameter_id=setting.name, integer_value_spec=integers, scale_type=scale)
    doubles = _Spec.DoubleValueSpec(min_value=low, max_value=high)
    return _Spec(parameter_id=setting.name, double_value_spec=doubles, scale_type=scale)


def _choices(name: str, values: Sequence[typing.Any]) -> _Spec:
    if all(isinstance(value, float) for value in values):
        return _Spec(parameter_id=name, discrete_value_spec=_Spec.DiscreteValueSpec(values=sorted(values)))
    # Whole numbers go as text: a discrete value is a double, and "64.0" is no batch size.
    texts = [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
    return _Spec(parameter_id=name, categorical_value_spec=_Spec.CategoricalValueSpec(values=texts))
