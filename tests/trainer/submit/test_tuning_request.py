import pytest
from google.cloud import aiplatform_v1

from trainer.errors import UserError
from trainer.submit import tuning_request
from trainer.submit.container import from_image
from trainer.submit.hardware import Hardware
from trainer.submit.tuning_request import Study, TunedSetting, parse_tuned_setting
from trainer.submit.vertex_request import JobOptions

SCALES = aiplatform_v1.StudySpec.ParameterSpec.ScaleType


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("base_learning_rate=0.01..1:log", TunedSetting("base_learning_rate", (0.01, 1.0), True, True)),
        ("randaugment_num_layers=0..3", TunedSetting("randaugment_num_layers", (0, 3), True)),
        ("label_smoothing=0,0.1,0.2", TunedSetting("label_smoothing", (0.0, 0.1, 0.2), False)),
        ("network=resnet18,resnet50", TunedSetting("network", ("resnet18", "resnet50"), False)),
        ("nesterov=true,false", TunedSetting("nesterov", (True, False), False)),
    ],
)
def test_parse(word, expected):
    assert parse_tuned_setting(word) == expected


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("base_lerning_rate=0.1,1", "--base_lerning_rate: unknown setting; did you mean --base_learning_rate?"),
        ("base_learning_rate=", "cannot be read; write NAME=LOW..HIGH"),
        ("base_learning_rate=1..2..3", "cannot be read"),
        ("base_learning_rate=0.1,1:log", "cannot be read"),
        ("base_learning_rate=1..0.1", "the range is empty; write the lower end first"),
        ("base_learning_rate=0..1:log", "a logarithmic range cannot start at 0"),
        ("base_learning_rate=low..high", "--base_learning_rate: 'low' is not a number"),
        ("label_smoothing=0.1..2", "--label_smoothing: 2 is out of range"),
        ("network=resnet18..resnet50", "only numbers have a range; list the values"),
        ("global_batch_size=64..128", "most numbers in a range are no batch size; list the values"),
        ("decay_epochs=1,2", "is a list, which cannot be varied"),
    ],
)
def test_a_mistake_is_refused(word, message):
    with pytest.raises(UserError) as refusal:
        parse_tuned_setting(word)
    assert message in str(refusal.value)


def tuning_job(*words: str, **study) -> aiplatform_v1.HyperparameterTuningJob:
    fields = {"metric": "top_1_accuracy", "is_maximized": True, "algorithm": "bayesian", "max_trials": 8} | study
    return tuning_request.tuning_job(
        from_image("image", ("train", "gs://b/d")),
        Hardware("n1-standard-4", "us-central1", "cpu"),
        JobOptions(display_name="job", output_dir="gs://b/m"),
        Study(tuned=tuple(map(parse_tuned_setting, words)), parallel_trials=2, **fields),
    )


def test_the_job_says_what_is_varied_and_towards_what():
    job = tuning_job("base_learning_rate=0.01..1:log", "randaugment_num_layers=0..3", algorithm="random")
    assert (job.max_trial_count, job.parallel_trial_count) == (8, 2)
    assert job.study_spec.algorithm == aiplatform_v1.StudySpec.Algorithm.RANDOM_SEARCH
    (metric,) = job.study_spec.metrics
    assert (metric.metric_id, metric.goal.name) == ("top_1_accuracy", "MAXIMIZE")
    rate, layers = job.study_spec.parameters
    assert (rate.double_value_spec.min_value, rate.double_value_spec.max_value) == (0.01, 1.0)
    assert rate.scale_type == SCALES.UNIT_LOG_SCALE
    assert (layers.integer_value_spec.min_value, layers.integer_value_spec.max_value) == (0, 3)
    assert job.trial_job_spec.base_output_directory.output_uri_prefix == "gs://b/m"


def test_whole_numbers_go_as_text_because_a_batch_of_64_point_0_is_none():
    (batch, smoothing, nesterov) = tuning_job(
        "global_batch_size=64,128", "label_smoothing=0.1,0", "nesterov=true,false"
    ).study_spec.parameters
    assert list(batch.categorical_value_spec.values) == ["64", "128"]
    assert list(smoothing.discrete_value_spec.values) == [0.0, 0.1]
    assert list(nesterov.categorical_value_spec.values) == ["true", "false"]


@pytest.mark.parametrize(
    ("fields", "words", "message"),
    [
        ({"max_trials": 0}, ["label_smoothing=0,0.1"], "--max_trials=0: out of range; give at least 1"),
        ({"metric": "top1"}, ["label_smoothing=0,0.1"], "--metric=top1: is no metric of the evaluation"),
        ({"max_trials": 1}, ["label_smoothing=0,0.1"], "--parallel_trials=2: out of range; give 1 to 1"),
        ({}, ["label_smoothing=0,0.1", "label_smoothing=0,0.2"], "--tune=label_smoothing: is given twice"),
    ],
)
def test_a_study_checks_itself(fields, words, message):
    with pytest.raises(UserError) as refusal:
        tuning_job(*words, **fields)
    assert message in str(refusal.value)
