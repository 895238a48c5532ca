"""`tpu-images deploy TARGET ...`: puts an exported model where it answers."""

import types
from collections.abc import Mapping, Sequence

from trainer.submit import flags
from trainer.submit.command import Target, run_target

TARGETS: Mapping[str, Target] = types.MappingProxyType(
    {
        "vertex": Target(
            flags.deploy_parser,
            "trainer.submit.vertex_deploy_command",
            "the Model Registry and an endpoint of Vertex AI",
        )
    }
)


def main(argv: Sequence[str]) -> int:
    """Runs one `deploy` command and returns its exit status."""
    return run_target("deploy", TARGETS, argv)
