"""The Dockerfiles as far as they can be checked without building them: instructions, sources, versions."""

import dataclasses
import pathlib
import re
import shutil
import subprocess

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
# https://docs.docker.com/reference/dockerfile/, those that we have a use for
KNOWN = {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "CMD"}
LOCK = (ROOT / "requirements" / "requirements.lock").read_text()
BASH = shutil.which("bash")


@dataclasses.dataclass(frozen=True)
class Instruction:
    name: str
    value: str


def parse(path: pathlib.Path) -> list[Instruction]:
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    logical = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [Instruction(*line.split(" ", 1)) for line in logical]


def values(path: pathlib.Path, name: str) -> list[str]:
    return [instruction.value for instruction in parse(path) if instruction.name == name]


def arguments(path: pathlib.Path) -> dict[str, str]:
    return dict(value.split("=", 1) for value in values(path, "ARG"))


def locked_version(name: str) -> str:
    return re.search(rf"^{re.escape(name)}==(\S+)", LOCK, re.MULTILINE).group(1)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_instructions_are_known_and_start_from_one_image(path):
    names = [instruction.name for instruction in parse(path)]
    assert set(names) <= KNOWN
    assert names.count("FROM") == 1
    assert set(names[: names.index("FROM")]) <= {"ARG"}
    # An ARG before FROM is unknown after it.
    late = "\n".join(instruction.value for instruction in parse(path)[names.index("FROM") + 1 :])
    early = {value.split("=")[0] for value in values(path, "ARG")[: names.index("FROM")]}
    assert not any(f"${{{name}}}" in late for name in early)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_is_copied_exists_and_is_sent_to_the_builder(path):
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    for value in values(path, "COPY"):
        *sources, _ = value.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source in sent, source


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_everything_that_the_package_is_built_from_is_copied(path):
    copied = {source for value in values(path, "COPY") for source in value.split()[:-1]}
    assert {"setup.py", "pyproject.toml", "preprocessing", "trainer"} <= copied


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_python_is_one_that_the_package_and_the_lock_are_for(path):
    version = arguments(path)["PYTHON_VERSION"]
    assert f"--python-version {version}" in (ROOT / "Makefile").read_text()
    assert f'python_requires=">={version}"' in (ROOT / "setup.py").read_text()


def test_beam_is_the_one_of_the_lock():
    assert arguments(ROOT / "docker" / "beam.Dockerfile")["BEAM_VERSION"] == locked_version("apache-beam")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_constraints_are_the_lock_without_hashes(path, tmp_path):
    (command,) = [value for value in values(path, "RUN") if value.startswith("sed")]
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "requirements.lock").write_text(LOCK)
    subprocess.run([BASH, "-euc", command], cwd=tmp_path, check=True)
    constraints = [Requirement(line) for line in (tmp_path / "constraints.txt").read_text().splitlines()]
    assert all(re.fullmatch(r"==[^,]+", str(constraint.specifier)) for constraint in constraints)
    locked = set(re.findall(r"^([A-Za-z0-9][\w.-]*)==", LOCK, re.MULTILINE))
    left_out = {"libtpu"} if path.stem == "trainer" else set()
    assert {constraint.name for constraint in constraints} == locked - left_out


def test_the_variant_of_the_trainer_is_an_extra():
    variant = arguments(ROOT / "docker" / "trainer.Dockerfile")["VARIANT"]
    assert f'"{variant}":' in (ROOT / "setup.py").read_text()
