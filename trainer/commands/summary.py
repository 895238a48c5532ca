"""The end of a command: a short table for people, and the same values as JSON for programs."""

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any

from preprocessing.command_line import file_to_write, write_file


def add_summary_argument(parser: argparse.ArgumentParser, check: Callable[[str], str] = file_to_write) -> None:
    """Adds `--summary_file`, which every command that measures something takes; `check` returns a path that is good."""
    parser.add_argument("--summary_file", metavar="FILE", type=check, help="also write the summary to FILE as JSON")


def show(title: str, values: Mapping[str, Any], summary_file: str | None) -> None:
    """Prints the values under a title, empty ones excepted; writes all to `summary_file` when there is one."""
    width = max(map(len, values))
    print(f"\n{title}")
    for name, value in values.items():
        if value != "":
            print(f"  {name.replace('_', ' '):<{width}}  {_text(value)}")
    if summary_file:
        write_file(summary_file, json.dumps(values, indent=2) + "\n")


def _text(value: Any) -> str:
    if value is None:
        return "not measured"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
