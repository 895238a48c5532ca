"""Reads a command's own options and the experiment's `--key=value` settings from one command line."""

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from trainer import config, presets


def parse_with_settings(parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[argparse.Namespace, dict]:
    """Returns the parser's options, and the settings among the remaining words with their typed values.

    Raises:
      UserError: on a misspelt key, a wrong value, or a word that belongs nowhere.
    """
    arguments, rest = parser.parse_known_args(_with_values_attached(argv))
    return arguments, config.parse_overrides(rest)


def _with_values_attached(argv: Sequence[str]) -> list[str]:
    """Rewrites `--key value` to `--key=value` for settings: argparse would take the value for a positional."""
    declared = config.settings()
    attached: list[str] = []
    for word in argv:
        previous = attached[-1] if attached else ""
        field = declared.get(previous.removeprefix("--")) if previous.startswith("--") else None
        if field is not None and field.type is not bool and not word.startswith("--"):
            attached[-1] = f"{previous}={word}"
        else:
            attached.append(word)
    return attached


def experiment_config(preset_name: str | None, overrides: dict[str, Any]) -> config.ExperimentConfig:
    """Returns the preset's configuration (or the defaults) with the user's settings on top."""
    start = presets.get(preset_name).config if preset_name else config.ExperimentConfig()
    return start.replace(**overrides)


def settings_help() -> str:
    """Returns the list of settings for `--help`: key, default, meaning."""
    lines = ["settings (--key=value, on top of the preset):"]
    for name, field in config.settings().items():
        choices = f" ({', '.join(map(str, field.metadata['choices']))})" if field.metadata["choices"] else ""
        text = f"{field.metadata['doc']}{choices}; default {format_value(field.default)}"
        lines.append(textwrap.fill(text, 100, initial_indent=f"  --{name:<26}", subsequent_indent=" " * 30))
    return "\n".join(lines)


def format_value(value: Any) -> str:
    """Returns a setting's value as it is written on the command line."""
    if isinstance(value, tuple):
        return ",".join(map(format_value, value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) or '""'
