import dataclasses

import pytest

from trainer import config
from trainer.errors import UserError


def test_names_are_unique_across_sections():
    names = [
        field.name
        for section in dataclasses.fields(config.ExperimentConfig)
        for field in dataclasses.fields(section.type)
    ]
    assert len(names) == len(set(names)) == len(config.settings())


def test_json_round_trip_keeps_every_setting():
    original = config.ExperimentConfig().replace(dropblock_groups=(4,), train_epochs=2.5, horizontal_flip=False)
    assert config.ExperimentConfig.from_json(original.to_json(), where="config.json") == original


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("--train_epochs=3", "train_epochs", 3.0),
        ("--horizontal_flip=false", "horizontal_flip", False),
        ("--nesterov", "nesterov", True),
        ("--dropblock_groups=3,4", "dropblock_groups", (3, 4)),
        ("--tpu=mock:8", "tpu", "mock:8"),
        ("--tpu=", "tpu", ""),
    ],
)
def test_words_become_typed_values(word, name, value):
    assert config.parse_overrides([word]) == {name: value}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--train_epoch=3", "--train_epoch: unknown setting; did you mean --train_epochs?"),
        ("--zzzzz=1", "--zzzzz: unknown setting; see --help for the settings"),
        ("--seed=x", "--seed: 'x' is not a whole number"),
        ("--horizontal_flip=perhaps", "--horizontal_flip: 'perhaps' is not true or false"),
        ("--decay_epochs=a,b", "--decay_epochs: 'a,b' is not a comma-separated list of numbers"),
        ("--seed", "--seed: has no value"),
        ("seed=1", "seed=1: unexpected argument"),
    ],
)
def test_a_word_that_cannot_be_read_says_why(word, message):
    with pytest.raises(UserError) as raised:
        config.parse_overrides([word])
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seed", -1, "--seed: -1 is out of range; give a value from 0 to 2147483647"),
        ("base_learning_rate", float("nan"), "--base_learning_rate: nan is out of range"),
        ("base_learning_rate", float("inf"), "--base_learning_rate: inf is out of range"),
        ("engine", "cuda", "--engine: 'cuda' is not one of auto, tf, pjrt"),
        ("image_size", 32.5, "--image_size: 32.5 is not a whole number"),
        ("train_epochs", 0, "--train_epochs: 0 is out of range; give a value above 0"),
        ("train_epochs", float("nan"), "--train_epochs: nan is out of range; give a value above 0"),
        ("ema_decay", -0.5, "--ema_decay: -0.5 is out of range"),
        ("horizontal_flip", 1, "--horizontal_flip: 1 is not true or false"),
        ("global_batch_size", True, "--global_batch_size: True is not a whole number"),
        ("dropblock_groups", (0,), "--dropblock_groups: 0 is out of range"),
        ("tpu", "banana", "--tpu=banana: no such device; write local, mock:8 (eight virtual CPU devices), or nothing"),
        ("tpu", "mock", "--tpu=mock: no such device"),
        ("tpu", "mock:0", "--tpu=mock:0: no such device"),
        ("networc", "resnet50", "--networc: unknown setting; did you mean --network?"),
    ],
)
def test_a_value_out_of_range_says_what_is_allowed(name, value, message):
    with pytest.raises(UserError) as raised:
        config.ExperimentConfig().replace(**{name: value})
    assert str(raised.value).startswith(message)


def test_batches_divide_among_the_replicas_of_mock():
    settings = {"tpu": "mock:7", "global_batch_size": 35}
    with pytest.raises(UserError, match=r"--eval_global_batch_size: 256 does not divide among 7 replicas; .* as 259"):
        config.ExperimentConfig().replace(**settings)
    assert config.ExperimentConfig().replace(**settings, eval_global_batch_size=7).loop.tpu == "mock:7"


def test_a_model_dir_may_be_continued_longer_or_slower_but_not_with_another_network():
    saved = config.ExperimentConfig()
    assert (
        config.changed_identity(saved, saved.replace(train_epochs=100.0, log_every_steps=7, base_learning_rate=0.01))
        == {}
    )
    changed = config.changed_identity(saved, saved.replace(network="resnet18", seed=1))
    assert changed == {"network": ("resnet50", "resnet18"), "seed": (0, 1)}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model": 3}', '{"model": {"network": 5}}', '{"x": {"netwurk": "a"}}']
)
def test_a_damaged_file_is_named(text):
    with pytest.raises(UserError, match=r"^/model/config\.json: "):
        config.ExperimentConfig.from_json(text, where="/model/config.json")
