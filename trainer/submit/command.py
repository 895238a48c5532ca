"""`tpu-images submit TARGET ...`: trains somewhere else, or here exactly as it would be done there."""

import importlib
from collections.abc import Sequence

from trainer.commands.arguments import CommandParser
from trainer.errors import UserError, nearest

# target -> (module, what it does)
TARGETS = {
    "vertex": ("trainer.submit.vertex_command", "one custom job on Vertex AI: TPU, GPU or CPU"),
    "local": ("trainer.submit.local_command", "this machine, as the cloud would do it: packed, installed, run"),
    "tpu-vm": ("trainer.submit.tpu_vm_command", "a Cloud TPU virtual machine, queued anew until training is done"),
    "vertex-tune": ("trainer.submit.tune_command", "many trials on Vertex AI, with settings that it varies"),
}


def main(argv: Sequence[str]) -> int:
    """Runs one `submit` command and returns its exit status."""
    summaries = "\n".join(f"  {name:<12} {summary}" for name, (_, summary) in TARGETS.items())
    parser = CommandParser("submit", "Train somewhere else.", epilog=f"targets:\n{summaries}")
    parser.add_argument("target", help="where to; tpu-images submit TARGET --help tells more")
    target = parser.parse_args(argv[:1]).target
    if target not in TARGETS:
        raise UserError("no such target", where=target, remedy=nearest(target, TARGETS, f"one of {', '.join(TARGETS)}"))
    module, _ = TARGETS[target]
    return importlib.import_module(module).main(argv[1:])
