"""Settings that every test process needs before TensorFlow or JAX is loaded, and where temporary files go."""

import multiprocessing.util
import os
import tempfile

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # so that a test may have up to eight replicas


@pytest.fixture(scope="session", autouse=True)
def temporary_files():
    """Removes what programs that were killed have left, and what a process of pytest-xdist leaves.

    TensorFlow and Python remove some files when a process exits. Those of pytest-xdist skip that.
    """
    with (
        tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("TMPDIR", folder)  # for programs that tests start
        if "PYTEST_XDIST_WORKER" in os.environ:
            patch.setattr(tempfile, "tempdir", folder)
        yield
        # If such a process does not skip that, it complains about a folder that is removed already.
        multiprocessing.util._run_finalizers()
