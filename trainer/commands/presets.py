"""`tpu-images presets [NAME]`: lists the ready configurations, or shows one with its command and settings."""

from collections.abc import Sequence

from preprocessing.command_line import CommandParser
from trainer import presets
from trainer.commands.arguments import format_value


def main(argv: Sequence[str]) -> int:
    """Prints the presets; returns the exit status."""
    parser = CommandParser("tpu-images presets", "List the ready configurations, or show one.")
    parser.add_argument("name", nargs="?", help="preset to show")
    name = parser.parse_args(argv).name
    print(_describe(presets.get(name)) if name else _list())
    return 0


def _list() -> str:
    hint = "tpu-images presets NAME shows the command and every setting"
    return "\n\n".join([*map(_summary, presets.PRESETS), hint])


def _summary(preset: presets.Preset) -> str:
    return "\n".join(
        [f"{preset.name}: {preset.summary}", f"  takes:    {preset.takes}", f"  expected: {preset.expected}"]
    )


def _describe(preset: presets.Preset) -> str:
    settings = [f"    --{name}={format_value(value)}" for name, value in preset.settings.items()]
    return "\n".join([_summary(preset), f"  command:  {preset.command}", "  settings:", *settings])
