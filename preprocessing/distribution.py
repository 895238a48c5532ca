"""Packs this very package for another machine: a source distribution from a checkout, a wheel from an installation."""

import csv
import hashlib
import importlib.metadata
import io
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator

from preprocessing.errors import UserError

DISTRIBUTION_NAME = "tpu-images"
_PACKAGES = ("preprocessing", "trainer")
_BUILD_FILES = ("setup.py", "pyproject.toml", "README.md")
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


def checkout_root() -> pathlib.Path | None:
    """Returns the directory with our `setup.py`, or None when the package runs from an installation."""
    root = pathlib.Path(__file__).resolve().parents[1]
    return root if (root / "setup.py").is_file() and (root / "trainer").is_dir() else None


def build(output_dir: pathlib.Path) -> pathlib.Path:
    """Writes the package into `output_dir` and returns the file: `.tar.gz` from a checkout, else `.whl`.

    Raises:
      UserError: when setuptools is missing, or cannot build the checkout.
    """
    root = checkout_root()
    return _repack_wheel(output_dir) if root is None else _build_source_distribution(root, output_dir)


def content_digest(archive: pathlib.Path) -> str:
    """Returns 12 hex digits that depend on names and contents of the files in `archive`, not on when it was built."""
    digest = hashlib.sha256()
    for name, content in sorted(_members(archive)):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


def _build_source_distribution(root: pathlib.Path, output_dir: pathlib.Path) -> pathlib.Path:
    # A copy, because setuptools writes its egg-info beside setup.py: two builds at once would trip over each other.
    program = "import setuptools.build_meta, sys; print(setuptools.build_meta.build_sdist(sys.argv[1]))"
    with tempfile.TemporaryDirectory() as directory:
        _copy_sources(root, pathlib.Path(directory))
        command = [sys.executable, "-c", program, str(output_dir.resolve())]
        built = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if built.returncode:
        reason = (built.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"cannot be packed ({reason})", where=str(root), remedy="pip install setuptools")
    return output_dir / built.stdout.splitlines()[-1]


def _copy_sources(root: pathlib.Path, target: pathlib.Path) -> None:
    for name in _BUILD_FILES:
        if (root / name).is_file():
            shutil.copy(root / name, target)
    for package in _PACKAGES:
        shutil.copytree(root / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))


def _repack_wheel(output_dir: pathlib.Path) -> pathlib.Path:
    distribution = importlib.metadata.distribution(DISTRIBUTION_NAME)
    name = DISTRIBUTION_NAME.replace("-", "_")
    path = output_dir / f"{name}-{distribution.version}-py3-none-any.whl"
    info_dir = f"{name}-{distribution.version}.dist-info"
    left_out = {f"{info_dir}/{file}" for file in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")}
    rows = [
        row for row in csv.reader(io.StringIO(distribution.read_text("RECORD") or "")) if _is_ours(row[0], left_out)
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for row in rows:
            _add(wheel, row[0], pathlib.Path(str(distribution.locate_file(row[0]))).read_bytes())
        record = io.StringIO()
        csv.writer(record, lineterminator="\n").writerows([*rows, (f"{info_dir}/RECORD", "", "")])
        _add(wheel, f"{info_dir}/RECORD", record.getvalue().encode())
    return path


def _is_ours(name: str, left_out: set[str]) -> bool:
    # Scripts lie outside site-packages ("../../bin/..."): pip makes them anew from entry_points.txt.
    return not name.startswith("..") and not name.endswith(".pyc") and name not in left_out


def _add(wheel: zipfile.ZipFile, name: str, content: bytes) -> None:
    wheel.writestr(zipfile.ZipInfo(name, _FIXED_TIME), content, zipfile.ZIP_DEFLATED)


def _members(archive: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((name, wheel.read(name)) for name in wheel.namelist())
    else:
        with tarfile.open(archive) as sources:
            for member in sources:
                file = sources.extractfile(member)
                if file is not None:
                    yield member.name, file.read()
