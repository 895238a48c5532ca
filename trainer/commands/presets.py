"""`tpu-images presets [NAME]`: lists the ready configurations, or shows one with its command and settings."""

from collections.abc import Sequence

from preprocessing.command_line import CommandParser
from trainer import presets
from trainer.commands import terminal
from trainer.commands.arguments import format_value


def main(argv: Sequence[str]) -> int:
    """Prints the presets; returns the exit status."""
    parser = CommandParser("tpu-images presets", "List the ready configurations, or show one.")
    parser.add_argument("name", nargs="?", help="preset to show")
    name = parser.parse_args(argv).name
    print(_describe(presets.get(name)) if name else _list())
    return 0


def _list() -> str:
    return terminal.table(("preset", "what it is"), [(preset.name, preset.summary) for preset in presets.PRESETS])


def _describe(preset: presets.Preset) -> str:
    settings = [f"  --{name}={format_value(value)}" for name, value in preset.settings.items()]
    return "\n".join(
        [
            f"{preset.name}: {preset.summary}",
            f"command:  {preset.command}",
            f"takes:    {preset.takes}",
            f"expected: {preset.expected}",
            "settings:",
            *settings,
        ]
    )
