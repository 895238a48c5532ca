"""TensorFlow 2.15's own Estimators beside ours: the same programs, data and seeds, on the CPU.

    python benchmarks/reference_estimator.py [--cases=cnn,lstm] [--cache_dir=DIR] [--write_goldens]

The programs are in `tests/trainer/estimator/reference_cases.py`. The reference runs in a virtual environment of its own
(Python 3.11 with tensorflow-cpu 2.15.1, made in the cache folder the first time; needs the network and about 1 GB).
Each program trains 100 steps, evaluates and predicts under both. Then ours continues, and warm-starts from, a
checkpoint that the reference wrote, and the reference does the same; and the reference continues one that ours wrote.

Prints one row for each program: the largest relative difference of a step's loss, the largest difference of a metric
and of a logit, and whether the checkpoints hold the same variables. Ends with status 1 if losses differ by more than
1e-5, metrics by more than 1e-6, or names differ. `--write_goldens` records the reference's numbers for the tests.
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_GOLDENS = _ROOT / "tests" / "trainer" / "estimator" / "goldens"
_REQUIREMENT = "tensorflow-cpu==2.15.1"
_LOSS_TOLERANCE = 1e-5
_METRIC_TOLERANCE = 1e-6
# The program whose checkpoint goes from one to the other, and how long it trains before and after.
_MOVING_CASE = "cnn"
_NUM_MOVING_STEPS = 20


def main() -> int:
    """Runs both sides and compares them."""
    arguments = _arguments()
    if arguments.side:
        _run_side(arguments)
        return 0
    python = _reference_python(pathlib.Path(arguments.cache_dir).expanduser())
    with tempfile.TemporaryDirectory() as directory:
        work_dir = pathlib.Path(directory)
        _start(python, "reference", work_dir, arguments.cases)
        _start(pathlib.Path(sys.executable), "ours", work_dir, arguments.cases)
        _start(python, "back", work_dir, arguments.cases)
        if arguments.write_goldens:
            _write_goldens(work_dir / "reference")
        rows = _compare_all(work_dir)
    _print(rows)
    return 0 if all(row.is_equal for row in rows) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default="", help="names of programs, separated by commas; all by default")
    parser.add_argument("--cache_dir", default="~/.cache/tpu-images", help="where the reference is installed")
    parser.add_argument("--write_goldens", action="store_true", help="record the reference's numbers for the tests")
    parser.add_argument("--side", choices=["reference", "ours", "back"], help=argparse.SUPPRESS)
    parser.add_argument("--work_dir", help=argparse.SUPPRESS)
    return parser.parse_args()


def _reference_python(cache_dir: pathlib.Path) -> pathlib.Path:
    """Returns the interpreter that has the reference, installed now if it is not there."""
    environment = cache_dir / "tensorflow-2.15.1"
    python = environment / "bin" / "python"
    if (environment / "complete").exists():
        return python
    creator = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if creator is None:
        sys.exit(f"{_REQUIREMENT} needs Python 3.11, which is not on the PATH; install it")
    print(f"installing {_REQUIREMENT} into {environment}")
    subprocess.run([creator, "-m", "venv", "--clear", str(environment)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", _REQUIREMENT], check=True)
    (environment / "complete").touch()
    return python


def _start(python: pathlib.Path, side: str, work_dir: pathlib.Path, cases: str) -> None:
    """Runs one side to its end, in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(_ROOT),
        "TF_ENABLE_ONEDNN_OPTS": "0",  # the same kernels on both sides
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    if side == "ours":
        environment["TF_USE_LEGACY_KERAS"] = "1"  # TensorFlow 1's layers on today's TensorFlow
    command = [str(python), "-W", "ignore", __file__, f"--side={side}", f"--work_dir={work_dir}", f"--cases={cases}"]
    subprocess.run(command, env=environment, check=True)


def _run_side(arguments: argparse.Namespace) -> None:
    """Runs the programs under the TensorFlow of this interpreter; leaves the outcomes in `<work_dir>/<side>`."""
    import tensorflow as tf  # noqa: PLC0415 - not in the process that compares

    from tests.trainer.estimator import reference_cases  # noqa: PLC0415

    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    kit = reference_cases.Toolkit(
        **(_our_interface() if arguments.side == "ours" else _reference_interface(tf)),
        layers=tf.compat.v1.layers,
        rnn_cell=tf.compat.v1.nn.rnn_cell,
    )
    work_dir = pathlib.Path(arguments.work_dir)
    side_dir = work_dir / arguments.side
    side_dir.mkdir()
    moving_case = reference_cases.CASES[_MOVING_CASE]
    if arguments.side == "back":
        _, losses = reference_cases.train(moving_case, kit, str(work_dir / "ours" / "written"), _NUM_MOVING_STEPS)
        _write_json(side_dir / "moving.json", {"continued": losses})
        return
    for name in arguments.cases.split(",") if arguments.cases else reference_cases.CASES:
        outcome = reference_cases.outcome(reference_cases.CASES[name], kit, str(side_dir / name))
        _write_json(side_dir / f"{name}.json", outcome)
    moving = _run_moving(reference_cases, kit, work_dir, side_dir)
    _write_json(side_dir / "moving.json", moving)
    if arguments.side == "ours":
        reference_cases.train(moving_case, kit, str(side_dir / "written"), _NUM_MOVING_STEPS)


def _reference_interface(tf: Any) -> dict[str, Any]:
    estimator = tf.compat.v1.estimator
    return {
        "Estimator": estimator.Estimator,
        "TPUEstimator": estimator.tpu.TPUEstimator,
        "EstimatorSpec": estimator.EstimatorSpec,
        "TPUEstimatorSpec": estimator.tpu.TPUEstimatorSpec,
        "RunConfig": estimator.RunConfig,
        "TPURunConfig": estimator.tpu.RunConfig,
    }


def _our_interface() -> dict[str, Any]:
    from trainer import estimator  # noqa: PLC0415
    from trainer.estimator import run_config  # noqa: PLC0415

    return {
        "Estimator": estimator.Estimator,
        "TPUEstimator": estimator.TPUEstimator,
        "EstimatorSpec": estimator.EstimatorSpec,
        "TPUEstimatorSpec": estimator.TPUEstimatorSpec,
        "RunConfig": run_config.RunConfig,
        "TPURunConfig": estimator.RunConfig,
    }


def _run_moving(cases: Any, kit: Any, work_dir: pathlib.Path, side_dir: pathlib.Path) -> Mapping[str, Any]:
    """Continues the reference's training, and starts another from its checkpoint. The reference writes it first."""
    case = cases.CASES[_MOVING_CASE]
    written = work_dir / "reference" / "written"
    if not written.exists():
        cases.train(case, kit, str(written), _NUM_MOVING_STEPS)
    shutil.copytree(written, side_dir / "continued")
    _, continued = cases.train(case, kit, str(side_dir / "continued"), _NUM_MOVING_STEPS)
    estimator, warm_started = cases.train(
        case, kit, str(side_dir / "warm"), _NUM_MOVING_STEPS, warm_start_from=str(written)
    )
    return {"continued": continued, "warm_started": warm_started, "variables": cases.shapes(estimator)}


@dataclasses.dataclass(frozen=True)
class _Row:
    """What the comparison of one program found: largest differences, and whether names and shapes are the same."""

    name: str
    loss: float
    metric: float
    logit: float
    has_same_variables: bool

    @property
    def is_equal(self) -> bool:
        return self.loss <= _LOSS_TOLERANCE and self.metric <= _METRIC_TOLERANCE and self.has_same_variables


def _compare_all(work_dir: pathlib.Path) -> list[_Row]:
    rows = []
    for path in sorted((work_dir / "reference").glob("*.json")):
        expected, found = (json.loads((work_dir / side / path.name).read_text()) for side in ("reference", "ours"))
        if path.stem == "moving":
            rows += [_moving_row(kind, expected, found) for kind in ("continued", "warm_started")]
            back = {**expected, **json.loads((work_dir / "back" / path.name).read_text())}
            rows.append(
                dataclasses.replace(_moving_row("continued", expected, back), name=f"{_MOVING_CASE}, moved back")
            )
        else:
            rows.append(_row(path.stem, expected, found))
    return sorted(rows, key=lambda row: row.name)


def _row(name: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> _Row:
    logits = [[value for row in side["logits"] for value in row] for side in (expected, found)]
    has_same_names = (
        expected["variables"] == found["variables"] and expected["metrics"].keys() == found["metrics"].keys()
    )
    metrics = [[side["metrics"][key] for key in expected["metrics"]] for side in (expected, found)]
    return _Row(
        name,
        loss=max(_relative(expected["losses"], found["losses"]), _event_difference(expected, found)),
        metric=_absolute(*metrics),
        logit=_absolute(*logits),
        has_same_variables=has_same_names,
    )


def _moving_row(kind: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> _Row:
    loss = _relative(expected[kind], found[kind])
    return _Row(f"{_MOVING_CASE}, {kind.replace('_', '-')}", loss, 0, 0, expected["variables"] == found["variables"])


def _event_difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """Returns the largest relative difference of the program's own summaries; infinite when their steps differ."""
    flat = [
        {(tag, step): value for tag, values in side["events"].items() for step, value in values.items()}
        for side in (expected, found)
    ]
    if flat[0].keys() != flat[1].keys():
        return float("inf")
    return _relative(list(flat[0].values()), [flat[1][key] for key in flat[0]])


def _relative(expected: list[float], found: list[float]) -> float:
    pairs = zip(expected, found, strict=True)
    return _largest([abs(a - b) / max(abs(a), 1e-30) for a, b in pairs])


def _absolute(expected: list[float], found: list[float]) -> float:
    return _largest([abs(a - b) for a, b in zip(expected, found, strict=True)])


def _largest(differences: list[float]) -> float:
    """Returns the largest difference; infinity if one is not finite, for `max` may pass over a NaN."""
    return max(differences, default=0.0) if all(map(math.isfinite, differences)) else math.inf


def _print(rows: list[_Row]) -> None:
    print(f"{'program':<20} {'loss (relative)':>16} {'metrics':>10} {'logits':>10}  variables")
    for row in rows:
        same = "same" if row.has_same_variables else "DIFFERENT"
        print(f"{row.name:<20} {row.loss:>16.2g} {row.metric:>10.2g} {row.logit:>10.2g}  {same}")


def _write_goldens(reference_dir: pathlib.Path) -> None:
    for path in reference_dir.glob("*.json"):
        shutil.copy(path, _GOLDENS / path.name)
    checkpoint_dir = _GOLDENS / "checkpoint"
    shutil.rmtree(checkpoint_dir, ignore_errors=True)
    checkpoint_dir.mkdir(parents=True)
    for path in (reference_dir / "written").glob(f"model.ckpt-{_NUM_MOVING_STEPS}.[id]*"):
        shutil.copy(path, checkpoint_dir / path.name)


def _write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Writes an object with a line for each of its entries."""
    lines = [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    sys.exit(main())
