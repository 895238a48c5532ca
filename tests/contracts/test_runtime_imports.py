"""What importing a room needs: tried in a fresh interpreter in which everything else cannot be imported."""

import subprocess
import sys

import pytest

BLOCKED_IMPORT = "import sys; sys.modules.update(dict.fromkeys({packages!r})); import {module}"


def import_without(module: str, packages: list[str]) -> subprocess.CompletedProcess:
    program = BLOCKED_IMPORT.format(module=module, packages=packages)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "packages"),
    [
        ("preprocessing.task", ["tensorflow", "jax", "trainer", "apache_beam"]),
        ("preprocessing.pipeline", ["tensorflow", "jax", "trainer"]),
        ("trainer.task", ["tensorflow", "jax", "apache_beam", "numpy", "PIL", "google.cloud.storage"]),
        ("trainer.estimator", ["apache_beam", "jax", "google.cloud.storage", "PIL"]),
        ("trainer.experiment", ["apache_beam", "jax", "google.cloud.storage", "PIL"]),
        ("trainer.submit.command", ["tensorflow", "jax", "apache_beam", "google.cloud.aiplatform_v1"]),
    ],
)
def test_a_room_does_without_what_it_must_not_load(module, packages):
    finished = import_without(module, packages)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_a_package_that_is_needed_is_missed():
    assert "tensorflow" in import_without("trainer.estimator", ["tensorflow"]).stderr
