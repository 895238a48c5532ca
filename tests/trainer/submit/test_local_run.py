import json
import pathlib
import subprocess

import pytest

from preprocessing import distribution
from trainer import cloud_environment
from trainer.errors import UserError
from trainer.submit import local_run

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    directory = tmp_path_factory.mktemp("local")
    package = distribution.build(directory)
    return local_run.create(directory / "environment", package, is_sharing_libraries=True)


def run_python(environment: local_run.CleanEnvironment, program: str) -> str:
    command = [environment.python, "-c", program]
    return subprocess.run(command, cwd=environment.directory, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_the_packed_package_is_what_runs(environment):
    program = "import trainer.submit.catalogue as tables, preprocessing; print(tables.__file__, preprocessing.__file__)"
    for path in run_python(environment, program).split():
        assert path.startswith(str(environment.directory))


@pytest.mark.slow
def test_every_source_file_and_table_is_packed(environment):
    site_packages = pathlib.Path(run_python(environment, "import trainer; print(trainer.__file__)")).parents[1]
    for package in ("trainer", "preprocessing"):
        wanted = {
            path.relative_to(ROOT)
            for path in (ROOT / package).rglob("*.*")
            if path.suffix in (".py", ".toml", ".sh", ".css", ".js", ".json")
        }
        assert {str(path) for path in wanted if not (site_packages / path).is_file()} == set()


@pytest.mark.slow
def test_the_trainer_runs_in_it_with_its_exit_status(environment, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert local_run.run_trainer(environment, ["presets"], {}) == 0
    assert local_run.run_trainer(environment, ["presets", "no-such-preset"], {}) == 2


@pytest.mark.slow
def test_a_package_that_cannot_be_installed_is_explained(tmp_path):
    broken = tmp_path / "tpu_images-0.1.0.tar.gz"
    broken.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"pip install: failed \(ERROR"):
        local_run.create(tmp_path / "environment", broken, is_sharing_libraries=True)


def test_the_variables_are_those_that_the_trainer_reads_in_the_cloud(tmp_path):
    variables = local_run.vertex_variables(str(tmp_path))
    environment = cloud_environment.read(variables)
    assert environment.checkpoint_dir == f"{tmp_path}/checkpoints"
    assert environment.export_dir == f"{tmp_path}/model"
    assert environment.tensorboard_dir == f"{tmp_path}/logs"
    assert environment.task.is_chief
    assert json.loads(variables["CLUSTER_SPEC"])["environment"] == "cloud"


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["vertex", "--region=us-west1"],
        ["vertex-tune", "--region=us-west1", "--tune=base_learning_rate=0.1,0.2"],
        ["tpu-vm", "--zone=us-west4-a"],
    ],
    ids=lambda words: words[0],
)
def test_an_installed_package_rehearses_and_packs_itself(environment, words):
    argv = [
        *words,
        "--data=gs://b/d",
        "--model_dir=gs://b/m",
        "--project=p",
        "--tpu_type=v5e:2x4",
        "--dry_run",
        "--no_preflight",
    ]
    program = f"from trainer.submit import command; command.main({argv!r}); command.main([{words[0]!r}, '--help'])"
    shown = run_python(environment, program)
    assert "tpu_images-0.1.0-py3-none-any.whl" in shown
    assert "usage: tpu-images submit" in shown
