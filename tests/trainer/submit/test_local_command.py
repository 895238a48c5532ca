import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from trainer.errors import UserError
from trainer.submit import command


@pytest.fixture
def dataset(tmp_path) -> pathlib.Path:
    random = np.random.default_rng(0)
    for name, brightness in (("dark", 40), ("light", 200)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(60):
            pixels = np.clip(random.normal(brightness, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    made = tmp_path / "dataset"
    subprocess.run(
        [sys.executable, "-m", "preprocessing.task", str(tmp_path / "photos"), str(made)],
        check=True,
        capture_output=True,
    )
    return made


@pytest.mark.slow
def test_it_trains_from_the_packed_package_into_the_directories_of_vertex(dataset, tmp_path, capfd):
    base_dir = tmp_path / "base"
    words = ["--preset=digits", "--train_epochs=1", "--global_batch_size=16", "--eval_global_batch_size=8"]
    argv = ["local", f"--data={dataset}", *words, f"--base_dir={base_dir}", "--share_libraries"]
    assert command.main(argv) == 0
    assert (base_dir / "checkpoints" / "config.json").is_file()
    assert list((base_dir / "checkpoints").glob("model.ckpt-*.index"))
    assert list((base_dir / "logs").glob("*/events.out.tfevents.*"))
    assert list((base_dir / "model").glob("*/saved_model.pb"))
    out = capfd.readouterr().out
    assert "packed:    tpu_images-0.1.0.tar.gz" in out
    assert f"ended with status 0; its files: {base_dir}" in out


def test_a_dry_run_shows_variables_and_command(capsys, tmp_path):
    assert command.main(["local", f"--data={tmp_path}", "--preset=digits", "--base_dir=/base", "--dry_run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "AIP_CHECKPOINT_DIR=/base/checkpoints/" in lines
    assert lines[-1] == f"python -m trainer.task train {tmp_path} --preset=digits"


def test_a_misspelt_setting_fails_before_anything_is_packed(tmp_path):
    with pytest.raises(UserError, match="did you mean --train_epochs"):
        command.main(["local", f"--data={tmp_path}", "--trian_epochs=1"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data=nowhere"], r"--data=nowhere: has no dataset\.json; give the directory that `convert` wrote"),
        (["--data=.", "--base_dir=file"], "file is not a folder"),
    ],
)
def test_a_mistake_is_told_before_anything_is_packed(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message):
        command.main(["local", *words])
    assert "packed" not in capsys.readouterr().out
