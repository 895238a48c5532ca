"""`make demo` keeps its promise: at least 98 % on the test split, and everything where the summary says."""

import json
import pathlib
import subprocess
import sys

import pytest

DEMO = pathlib.Path(__file__).resolve().parents[2] / "examples" / "digits.py"


@pytest.mark.slow
def test_the_demo_reaches_what_it_promises(tmp_path):
    root = tmp_path / "demo"
    finished = subprocess.run(
        [sys.executable, DEMO, f"--output_dir={root}"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    assert json.loads((root / "evaluate.json").read_text())["accuracy"] >= 0.98
    assert (root / "predictions.csv").exists()
    assert list((root / "model" / "export").glob("*/saved_model.pb"))
