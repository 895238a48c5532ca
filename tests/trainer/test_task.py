import importlib
import subprocess
import sys

import pytest

from trainer import config, presets, task
from trainer.commands import preflight, train
from trainer.submit import command as submit_command

HEAVY_PACKAGES = ("tensorflow", "apache_beam", "jax", "google.cloud.storage", "numpy", "PIL")


def test_help_lists_every_command(capsys):
    assert task.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {command.name} " in shown for command in task.COMMANDS)


def test_help_loads_nothing_heavy():
    program = (
        "import sys; from trainer import task; task.main(['--help'])\n"
        f"print('LOADED', [name for name in {HEAVY_PACKAGES!r} if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("command", task.COMMANDS, ids=lambda command: command.name)
def test_every_target_exists(command):
    module, _, function = command.target.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["trian"], "tpu-images: trian: no such command; did you mean train?"),
        (["presets", "digit"], "tpu-images: --preset=digit: no such preset; did you mean digits?"),
        (["presets", "--what"], "tpu-images: unrecognized arguments: --what; see tpu-images presets --help"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(argv, message, capsys):
    assert task.main(argv) == 2
    assert capsys.readouterr().err == message + "\n"


@pytest.mark.parametrize(
    "parser",
    [
        *(target.parser for target in submit_command.TARGETS.values()),
        train._parser,
        preflight._parser,
    ],
    ids=lambda parser: f"{parser.__module__}.{parser.__name__}",
)
def test_no_flag_hides_a_setting(parser):
    flags = {flag.removeprefix("--") for action in parser()._actions for flag in action.option_strings}
    assert flags.isdisjoint(config.settings())


def test_presets_say_what_they_take_and_what_to_expect(capsys):
    assert task.main(["presets"]) == 0
    shown = capsys.readouterr().out
    for preset in presets.PRESETS:
        assert all(text in shown for text in (f"{preset.name}: {preset.summary}", preset.takes, preset.expected))


def test_debug_keeps_the_stack_trace():
    with pytest.raises(task.UserError):
        task.main(["trian", "--debug"])


def test_a_reader_that_leaves_early_ends_it_quietly():
    command = [sys.executable, "-m", "trainer.task", "presets"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_another_pipe_that_breaks_keeps_its_stack_trace():
    program = (
        "import os, sys\n"
        "from preprocessing import command_line\n"
        "def command(words):\n"
        "    reader, writer = os.pipe()\n"
        "    os.close(reader)\n"
        "    os.write(writer, b'x')\n"
        "sys.exit(command_line.run(command, 'program', []))\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr.endswith("BrokenPipeError: [Errno 32] Broken pipe\n")
