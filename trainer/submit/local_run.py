"""Runs a training here as the cloud would: fresh virtual environment, our packed package, variables of Vertex AI."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence

from trainer.errors import UserError

# What a module left behind in this environment must not help the clean one.
_LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")


@dataclasses.dataclass(frozen=True)
class CleanEnvironment:
    """A virtual environment in `directory`."""

    directory: pathlib.Path

    @property
    def python(self) -> str:
        """The environment's interpreter."""
        return str(self.directory / "bin" / "python")


def create(directory: pathlib.Path, package: pathlib.Path, *, is_sharing_libraries: bool = False) -> CleanEnvironment:
    """Makes a virtual environment and installs the packed package in it, with the `cpu` extra.

    Args:
      directory: where to make it.
      package: what `preprocessing.distribution.build` wrote.
      is_sharing_libraries: take TensorFlow and the other libraries from the running environment and install our package
        alone: seconds in place of minutes, and no network. It still shows a module or a table that is not packed, but
        not a missing requirement.

    Raises:
      UserError: when pip cannot install it.
    """
    made = CleanEnvironment(directory)
    _run([sys.executable, "-m", "venv", str(directory)], "python -m venv")
    install = [made.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if is_sharing_libraries:
        _share_libraries(made)
        # Ignoring what is installed: pip would otherwise find our package in the shared libraries and be content.
        _run([*install, "--no-deps", "--no-build-isolation", "--ignore-installed", str(package)], "pip install")
    else:
        _run([*install, f"{package}[cpu]"], "pip install")
    return made


def vertex_variables(base_dir: str) -> dict[str, str]:
    """Returns what Vertex AI sets for a job of one worker with the output directory `base_dir`.

    Reference: https://cloud.google.com/vertex-ai/docs/training/code-requirements#environment-variables
    """
    base = base_dir.rstrip("/")
    cluster = {
        "cluster": {"workerpool0": ["localhost:2222"]},
        "environment": "cloud",
        "task": {"type": "workerpool0", "index": 0},
    }
    return {
        "AIP_MODEL_DIR": f"{base}/model/",
        "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
        "CLOUD_ML_JOB_ID": "local",
        "CLUSTER_SPEC": json.dumps(cluster),
    }


def run_trainer(environment: CleanEnvironment, arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """Runs `python -m trainer.task` away from any checkout of ours, and returns its exit status."""
    command = [environment.python, "-m", "trainer.task", *arguments]
    return subprocess.run(
        command, cwd=environment.directory, env={**_clean_variables(), **variables}, check=False
    ).returncode


def _share_libraries(environment: CleanEnvironment) -> None:
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    target = environment.directory / "lib" / version / "site-packages" / "shared_libraries.pth"
    # Entries of a .pth file come after the environment's own packages; .pth files in those places, such as that of an
    # editable installation of ours, are not read.
    target.write_text("".join(f"{path}\n" for path in sorted(paths)))


def _run(command: Sequence[str], what: str) -> None:
    finished = subprocess.run(command, env=_clean_variables(), capture_output=True, text=True, check=False)
    if finished.returncode:
        lines = [line for line in finished.stderr.splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "no message")
        raise UserError(f"failed ({reason})", where=what, remedy="mend the packaging, or pip's configuration")


def _clean_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
