"""The main job with everything in `gs://`: data, model_dir, export and pictures, while some requests fail."""

import pathlib
import re
import subprocess
import sys

import pytest
from PIL import Image
from sklearn.datasets import load_digits

from preprocessing.task import main as convert
from tests.google_storage import server

BUCKET = "pictures"
_CHECKPOINT = re.compile(rf"{BUCKET}/model/model\.ckpt-(\d+)\.index")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("images")
    digits = load_digits(n_class=3)
    for number, (pixels, label) in enumerate(zip(digits.images[:150], digits.target[:150], strict=True)):
        path = folder / str(label) / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((pixels * 15.9).astype("uint8")).save(path)
    return folder


def tpu_images(variables: dict[str, str], *words: str) -> str:
    """Runs a command in a process of its own, and returns what it printed."""
    command = [sys.executable, "-m", "trainer.task", *words]
    finished = subprocess.run(
        command, env=server.environment(variables), capture_output=True, text=True, timeout=300, check=False
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


def test_train_evaluate_export_and_predict(images, tmp_path):
    assert convert([str(images), str(tmp_path / "dataset"), "--split=train:0.8,validation:0.1,test:0.1"]) == 0
    store = server.ObjectStore((BUCKET,), fault_rate=0.05)
    store.put_folder(tmp_path / "dataset", f"{BUCKET}/dataset")
    store.put_folder(images, f"{BUCKET}/images")
    picture = next(name for name in store.objects if "/images/" in name)
    model_dir = f"--model_dir=gs://{BUCKET}/model"
    settings = ("--preset=digits", "--network=resnet8", "--global_batch_size=16", "--epochs_per_eval=1")
    train = ("train", f"gs://{BUCKET}/dataset", model_dir, *settings)
    with server.serve(store, tmp_path) as variables:
        tpu_images(variables, *train, "--train_epochs=1")
        tpu_images(variables, *train, "--train_epochs=2")
        shown = tpu_images(variables, "evaluate", model_dir, "--split=test")
        tpu_images(variables, "export", model_dir)
        predicted = tpu_images(variables, "predict", f"gs://{picture}", f"--export_dir=gs://{BUCKET}/model/export")
    steps = [int(found[1]) for name in store.objects if (found := _CHECKPOINT.fullmatch(name))]
    assert max(steps) == 15
    assert len(steps) == 3
    assert "accuracy" in shown
    assert f"gs://{picture}" in predicted
    assert not [name for name in store.objects if "temp" in name.split("/")[-2]]
    assert store.num_faults > 0
