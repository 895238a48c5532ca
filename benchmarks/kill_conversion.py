"""Kills conversions with SIGKILL at random moments and looks at what they leave: nothing, or a whole dataset.

    python benchmarks/kill_conversion.py --num_kills=20
    python benchmarks/kill_conversion.py --num_kills=20 --curate

Every other conversion replaces a dataset, the others start with none; each finds what the one before left behind. The
last one runs to its end. The status is 1 when a dataset is neither absent nor complete, or something is left beside it.
"""

import argparse
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from convert_throughput import write_images

from preprocessing import inspection
from preprocessing.errors import UserError


def main() -> int:
    """Kills, counts, prints; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num_kills", type=int, default=20)
    parser.add_argument("--num_images", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments, convert_flags = parser.parse_known_args()
    moments = random.Random(arguments.seed)  # noqa: S311 - nobody must not guess them
    with tempfile.TemporaryDirectory() as scratch:
        images, target = pathlib.Path(scratch, "images"), pathlib.Path(scratch, "out", "dataset")
        write_images(images, arguments.num_images)
        command = [sys.executable, "-m", "preprocessing.task", str(images), str(target), "--overwrite", *convert_flags]
        whole_secs = run(command)
        found = []
        for number in range(arguments.num_kills):
            if number % 2 == 0:
                shutil.rmtree(target, ignore_errors=True)
            elif not target.exists():
                run(command)
            found.append(after_kill(command, target, moments.uniform(0, whole_secs)))
        run(command)
        left = [path.name for path in target.parent.iterdir()]
        is_whole = state(target) == "complete"
    for each in sorted(set(found)):
        print(f"{each}: {found.count(each)} of {len(found)}")
    print(f"then the same command: {'complete' if is_whole else 'damaged'}, beside it {len(left) - 1} files are left")
    return int(not is_whole or left != ["dataset"] or not set(found) <= {"absent", "complete"})


def run(command: list[str]) -> float:
    """Runs a conversion to its end and returns its seconds."""
    started_secs = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_secs


def after_kill(command: list[str], target: pathlib.Path, delay_secs: float) -> str:
    """Starts a conversion, kills it after a while, and returns what is there."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        time.sleep(delay_secs)
        process.kill()
    return state(target)


def state(target: pathlib.Path) -> str:
    """Returns "absent", "complete" or "damaged": every byte of a dataset is read."""
    if not target.exists():
        return "absent"
    try:
        return "damaged" if inspection.inspect(str(target)).problems else "complete"
    except UserError:
        return "damaged"


if __name__ == "__main__":
    sys.exit(main())
