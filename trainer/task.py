"""The command line: `tpu-images COMMAND ...`, and the same as `python -m trainer.task COMMAND ...`."""

import dataclasses
import importlib
import sys
from collections.abc import Callable, Sequence

from preprocessing import command_line
from trainer.errors import USER_ERROR_EXIT_STATUS, UserError, nearest


@dataclasses.dataclass(frozen=True)
class Command:
    """A command; `target` is `"module:function"`, imported only when the command is asked for."""

    name: str
    target: str
    summary: str


COMMANDS = (
    Command("convert", "preprocessing.task:main", "turn your images into a dataset directory of TFRecords"),
    Command("inspect", "preprocessing.inspect:main", "verify a dataset directory and show what is in it"),
    Command("train", "trainer.commands.train:main", "train on a dataset directory, evaluating as it goes"),
    Command("evaluate", "trainer.commands.evaluate:main", "measure a trained model on one split"),
    Command("predict", "trainer.commands.predict:main", "classify image files"),
    Command("export", "trainer.commands.export:main", "write a SavedModel that takes raw image bytes"),
    Command(
        "preflight", "trainer.commands.preflight:main", "ask the real TPU compiler: does it fit, what does it cost?"
    ),
    Command("submit", "trainer.submit.command:main", "train on Vertex AI or a Cloud TPU, or rehearse that here"),
    Command("deploy", "trainer.submit.deploy_command:main", "serve an export from a Vertex AI endpoint"),
    Command("legacy", "trainer.commands.legacy:main", "run a TensorFlow 1 or TPUEstimator program as it is"),
    Command("presets", "trainer.commands.presets:main", "list the ready configurations"),
    Command("networks", "trainer.commands.networks:main", "list the networks, with parameters and flops"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, 2 (the user's mistake), 130 (Ctrl-C)."""
    return command_line.run(_dispatch, "tpu-images", argv)


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if arguments else USER_ERROR_EXIT_STATUS
    return _load(arguments[0])(arguments[1:])


def _load(name: str) -> Callable[[Sequence[str]], int]:
    for command in COMMANDS:
        if command.name == name:
            module, _, function = command.target.partition(":")
            return getattr(importlib.import_module(module), function)
    raise UserError(
        "no such command", where=name, remedy=nearest(name, [command.name for command in COMMANDS], "see --help")
    )


def _usage() -> str:
    width = max(len(command.name) for command in COMMANDS)
    lines = [f"  {command.name:<{width}}  {command.summary}" for command in COMMANDS]
    return "\n".join(
        [
            "usage: tpu-images COMMAND ...   (tpu-images COMMAND --help tells more)",
            "",
            "From a folder of labelled images to a trained, measured, exported classifier.",
            "",
            *lines,
            "",
            "--debug shows the stack trace of an error.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
