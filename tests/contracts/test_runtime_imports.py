"""What importing a room really loads, measured in a fresh interpreter."""

import subprocess
import sys

import pytest

LOADED = "import sys; import {module}; print([name for name in {packages!r} if name in sys.modules])"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "packages"),
    [
        ("preprocessing.task", ["tensorflow", "jax", "trainer"]),
        ("preprocessing.pipeline", ["tensorflow", "jax", "trainer"]),
        ("trainer.estimator", ["apache_beam", "jax", "google.cloud.storage"]),
        ("trainer.experiment", ["apache_beam", "jax", "google.cloud.storage"]),
        ("trainer.export", ["apache_beam", "jax", "google.cloud.storage"]),
    ],
)
def test_a_room_loads_only_what_it_needs(module, packages):
    program = LOADED.format(module=module, packages=packages)
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines()[-1] == "[]"
