import pytest

from preprocessing.command_line import CommandParser
from trainer.commands import arguments
from trainer.errors import UserError


def parser() -> CommandParser:
    made = CommandParser("tpu-images train", "Train.")
    made.add_argument("dataset")
    made.add_argument("--model_dir")
    return made


@pytest.mark.parametrize(
    "words",
    [
        ["data", "--model_dir=m", "--train_epochs=3", "--nesterov"],
        ["--train_epochs", "3", "--nesterov", "data", "--model_dir", "m"],
    ],
)
def test_options_and_settings_are_told_apart(words):
    options, settings = arguments.parse_with_settings(parser(), words)
    assert (options.dataset, options.model_dir) == ("data", "m")
    assert settings == {"train_epochs": 3.0, "nesterov": True}


def test_a_missing_argument_is_one_line():
    with pytest.raises(UserError, match="required: dataset; see tpu-images train --help"):
        arguments.parse_with_settings(parser(), [])


def test_settings_win_over_the_preset():
    chosen = arguments.experiment_config("digits", {"image_size": 16})
    assert (chosen.input.image_size, chosen.input.crop) == (16, "pad")


def test_help_names_every_setting():
    from trainer import config

    shown = arguments.settings_help()
    assert all(f"--{name} " in shown for name in config.settings())
