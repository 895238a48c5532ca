import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

from preprocessing import distribution


def test_a_checkout_is_packed_as_a_source_distribution(tmp_path):
    path = distribution.build(tmp_path)
    assert path.name.startswith("tpu_images-")
    assert path.name.endswith(".tar.gz")
    with tarfile.open(path) as archive:
        names = {pathlib.PurePosixPath(*pathlib.PurePosixPath(name).parts[1:]) for name in archive.getnames()}
    for wanted in ("setup.py", "preprocessing/distribution.py", "trainer/submit/tables/tpus.toml"):
        assert pathlib.PurePosixPath(wanted) in names
    assert not any(name.parts[:1] == ("tests",) for name in names)


@pytest.mark.slow
def test_the_digest_tells_contents_not_times(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert distribution.content_digest(distribution.build(first)) == distribution.content_digest(
        distribution.build(second)
    )
    changed = tmp_path / "changed.whl"
    with zipfile.ZipFile(changed, "w") as wheel:
        wheel.writestr("a", "1")
    before = distribution.content_digest(changed)
    with zipfile.ZipFile(changed, "w") as wheel:
        wheel.writestr("a", "2")
    assert distribution.content_digest(changed) != before


@pytest.mark.slow
def test_an_installation_packs_itself_as_a_wheel_that_installs_the_same(tmp_path):
    """From the checkout into a first place; from there, without the checkout, into a second."""
    python = [sys.executable, "-I"]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    source = distribution.build(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    subprocess.run([*install, str(first), str(source)], check=True)
    program = (
        f"import sys; sys.path.insert(0, {str(first)!r})\n"
        "import pathlib\nfrom preprocessing import distribution\n"
        f"print(distribution.build(pathlib.Path({str(tmp_path)!r})))"
    )
    built = subprocess.run([*python, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    wheel = pathlib.Path(built.stdout.strip())
    assert wheel.suffix == ".whl"
    subprocess.run([*install, str(second), str(wheel)], check=True)
    assert installed_files(second) == installed_files(first)
    metadata = next(second.glob("*.dist-info")) / "METADATA"
    assert 'extra == "tpu"' in metadata.read_text()
    assert (next(second.glob("*.dist-info")) / "entry_points.txt").is_file()


def installed_files(directory: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not path.parent.name.endswith(".dist-info")
    }
