import subprocess
import sys

INTERRUPTED_AMID_DEL = """
import signal, sys, time
from preprocessing import command_line

class Interrupted:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def command(argv):
    Interrupted()
    time.sleep(float(argv[0]))
    return 0

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(command_line.run(command, "program"))
"""


def run(program: str, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-c", program, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return finished.returncode, finished.stderr


def test_ctrl_c_is_heard_where_python_ignores_exceptions():
    assert run(INTERRUPTED_AMID_DEL, "60") == (130, "program: interrupted\n")


def test_ctrl_c_that_comes_too_late_changes_nothing():
    # On a busy machine the usual time could pass before the end.
    program = INTERRUPTED_AMID_DEL.replace("class", "command_line._SEND_AGAIN_AFTER_SECS = 20\n\nclass", 1)
    assert run(program, "0") == (0, "")


def test_what_else_python_ignores_is_shown():
    program = INTERRUPTED_AMID_DEL.replace("signal.raise_signal(signal.SIGINT)", "1 / 0")
    status, shown = run(program, "0")
    assert status == 0
    assert "Exception ignored" in shown
    assert "ZeroDivisionError" in shown


IMPORT_FAILS = """
import signal, sys
from preprocessing import command_line

def command(argv):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("a module cannot be loaded") from None

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(command_line.run(command, "program"))
"""


def test_ctrl_c_is_heard_where_a_module_makes_an_import_error_of_it():
    assert run(IMPORT_FAILS) == (130, "program: interrupted\n")


def test_an_import_error_without_ctrl_c_is_shown():
    status, shown = run(IMPORT_FAILS.replace("signal.raise_signal(signal.SIGINT)", "raise KeyboardInterrupt"))
    assert status == 1
    assert shown.splitlines()[-1] == "ImportError: a module cannot be loaded"
