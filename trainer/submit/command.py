"""`tpu-images submit TARGET ...`: trains somewhere else, or here exactly as it would be done there."""

import argparse
import dataclasses
import importlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from preprocessing.command_line import CommandParser
from trainer.commands.arguments import parse_with_settings
from trainer.errors import UserError, nearest
from trainer.submit import flags


@dataclasses.dataclass(frozen=True)
class Target:
    """Where to; `module` has `run(flags, settings) -> int` and is loaded, with its client libraries, when needed."""

    parser: Callable[[], CommandParser]
    module: str
    summary: str


TARGETS: Mapping[str, Target] = types.MappingProxyType(
    {
        "vertex": Target(
            flags.vertex_parser, "trainer.submit.vertex_command", "one custom job on Vertex AI: TPU, GPU or CPU"
        ),
        "vertex-tune": Target(
            flags.tune_parser, "trainer.submit.tune_command", "many trials on Vertex AI, with settings that it varies"
        ),
        "tpu-vm": Target(
            flags.tpu_vm_parser,
            "trainer.submit.tpu_vm_command",
            "a Cloud TPU virtual machine, queued anew until training is done",
        ),
        "local": Target(
            flags.local_parser,
            "trainer.submit.local_command",
            "this machine, as the cloud would do it: packed, installed, run",
        ),
    }
)


def main(argv: Sequence[str]) -> int:
    """Runs one `submit` command and returns its exit status."""
    return run_target("submit", TARGETS, argv)


def run_target(command: str, targets: Mapping[str, Target], argv: Sequence[str]) -> int:
    """Runs the target that the first word names; raises UserError when there is none, or its libraries are missing."""
    summaries = "\n".join(f"  {name:<12} {target.summary}" for name, target in targets.items())
    parser = CommandParser(f"tpu-images {command}", f"{command} TARGET --flags", epilog=f"targets:\n{summaries}")
    parser.add_argument("target", help=f"tpu-images {command} TARGET --help tells more")
    name = parser.parse_args(argv[:1]).target
    if name not in targets:
        raise UserError("no such target", where=name, remedy=nearest(name, targets, f"one of {', '.join(targets)}"))
    values, settings = parse_with_settings(targets[name].parser(), argv[1:])
    return _load(targets[name].module)(values, settings)


def _load(module: str) -> Callable[[argparse.Namespace, dict[str, Any]], int]:
    try:
        return importlib.import_module(module).run
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("google"):
            raise
        raise UserError(f"{error.name} is not installed", remedy="pip install 'tpu-images[gcp]'") from error
