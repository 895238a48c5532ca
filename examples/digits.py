"""The main job from end to end on real images: scikit-learn's 1,797 handwritten digits.

Run by `make demo`. It writes one PNG per image into one folder per class, as a user's pictures would lie there, and
then runs the same commands that a user would type, each shown before it runs.

    python examples/digits.py --output_dir=demo
"""

import argparse
import json
import pathlib
import shlex
import shutil
import subprocess
import sys
import time

import numpy as np
from PIL import Image
from sklearn import datasets

REQUIRED_ACCURACY = 0.98


def main() -> int:
    """Runs the demo; exit status 1 when the accuracy stays below what is promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output_dir", type=pathlib.Path, default=pathlib.Path("demo"))
    root = parser.parse_args().output_dir
    started_secs = time.monotonic()
    if root.exists():
        _remove_previous_demo(root)
    images = root / "images"
    num_images = write_digits(images)
    print(f"wrote {num_images} images to {images}, one folder per class")
    summaries = run_commands(root, images)
    show_summary(root, summaries, time.monotonic() - started_secs)
    return 0 if summaries["evaluate"]["accuracy"] >= REQUIRED_ACCURACY else 1


def _remove_previous_demo(root: pathlib.Path) -> None:
    """Removes what an earlier run left, and nothing else: a folder without its marker is somebody's own."""
    if not (root / "images" / ".digits").exists():
        sys.exit(f"{root} exists and is not a demo's folder; give another --output_dir")
    shutil.rmtree(root)


def write_digits(folder: pathlib.Path) -> int:
    """Writes every digit as `folder/<class>/<number>.png` (8x8 grey pixels) and returns how many there are."""
    digits = datasets.load_digits()
    folder.mkdir(parents=True)
    (folder / ".digits").touch()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        class_folder = folder / str(label)
        class_folder.mkdir(exist_ok=True)
        grey = np.round(pixels * (255 / 16)).astype(np.uint8)
        Image.fromarray(grey).save(class_folder / f"{number:04d}.png")
    return len(digits.images)


def run_commands(root: pathlib.Path, images: pathlib.Path) -> dict[str, dict]:
    """Converts, trains, evaluates, exports and predicts; returns each command's summary by its name."""
    dataset, model_dir = root / "dataset", root / "model"
    unseen = sorted(images.glob("*/*.png"))[:: len(list(images.glob("*/*.png"))) // 8]
    commands: dict[str, list] = {
        "convert": [images, dataset, "--split=train:0.8,validation:0.1,test:0.1"],
        "train": [dataset, f"--model_dir={model_dir}", "--preset=digits"],
        "evaluate": [dataset, f"--model_dir={model_dir}", "--split=test"],
        "export": [f"--model_dir={model_dir}"],
        "predict": [*unseen, f"--export_dir={model_dir}/export", f"--output={root}/predictions.csv"],
    }
    return {name: run(name, arguments, root / f"{name}.json") for name, arguments in commands.items()}


def run(name: str, arguments: list, summary_file: pathlib.Path) -> dict:
    """Runs `tpu-images NAME ARGUMENTS`, shown as a user would type it, and returns its summary."""
    words = [name, *map(str, arguments), f"--summary_file={summary_file}"]
    print(f"\n$ tpu-images {shlex.join(words)}", flush=True)
    started_secs = time.monotonic()
    subprocess.run([sys.executable, "-m", "trainer.task", *words], check=True)
    return {**json.loads(summary_file.read_text()), "command_secs": time.monotonic() - started_secs}


def show_summary(root: pathlib.Path, summaries: dict[str, dict], elapsed_secs: float) -> None:
    """Prints accuracy, images per second of each stage, and where everything lies."""
    print(f"\n{'=' * 78}\ntest accuracy {summaries['evaluate']['accuracy']:.2%}, everything in {elapsed_secs:.0f} s\n")
    print(f"{'stage':<10}{'images/s':>10}{'command':>10}  where")
    places = {
        "convert": root / "dataset",
        "train": root / "model",
        "evaluate": root / "model" / "eval_test",
        "export": summaries["export"]["export_dir"],
        "predict": root / "predictions.csv",
    }
    for name, place in places.items():
        rate = summaries[name].get("images_per_sec")
        shown_rate = f"{rate:,.0f}" if rate else ""
        print(f"{name:<10}{shown_rate:>10}{summaries[name]['command_secs']:>8.0f} s  {place}")


if __name__ == "__main__":
    sys.exit(main())
