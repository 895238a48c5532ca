import subprocess
import sys

import pytest

from tests.google_storage import server

NUM_DIRECTORIES = 9
PROGRAM = f"""
from trainer.estimator.directory_rename import rename_directory

for number in range({NUM_DIRECTORIES}):
    rename_directory(f"gs://pictures/temp-{{number}}", f"gs://pictures/done-{{number}}")
"""


@pytest.mark.slow
def test_a_rename_survives_requests_that_fail(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    paths = ("a.txt", "b.txt", "c.txt", "inner/d.txt")
    for path in paths:
        (folder / path).write_text(path)
    # With this seed the question whether the last source is a directory is one of the requests that fail.
    store = server.ObjectStore(("pictures",), fault_rate=0.15, seed=3)
    for number in range(NUM_DIRECTORIES):
        store.put_folder(folder, f"pictures/temp-{number}")
    with server.serve(store, tmp_path) as variables:
        environment = server.environment(variables)
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=300)
    left = {name for name in store.objects if not name.endswith("/")}
    assert left == {f"pictures/done-{number}/{path}" for number in range(NUM_DIRECTORIES) for path in paths}
