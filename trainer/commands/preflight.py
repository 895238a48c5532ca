"""`tpu-images preflight --tpu_type=v5e:2x4`: will it run there, will it fit, what will it cost; without a TPU."""

import importlib.util
import json
import os
import pathlib
import sys
import traceback
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from preprocessing.command_line import CommandParser, folder_to_write, write_file
from trainer.commands.arguments import experiment_config, parse_with_settings, settings_help
from trainer.commands.tensorflow_loading import load_tensorflow
from trainer.commands.terminal import ProgressLine, format_duration
from trainer.errors import UserError

if TYPE_CHECKING:
    from trainer.preflight.preflight import Workload

PROBLEM_EXIT_STATUS = 1
# ImageNet's, for a preset without a dataset.
_NUM_CLASSES = 1000
_NUM_TRAIN_EXAMPLES = 1_281_167
_SETTINGS_OF_ANY_MODEL = frozenset(("global_batch_size", "train_epochs"))
_JSON_FILE = "preflight.json"
_HTML_FILE = "preflight.html"
_INTERFACE = pathlib.Path(__file__).parents[1]


def main(argv: Sequence[str]) -> int:
    """Prints a verdict for each topology; returns 0, or 1 when the step does not compile or does not fit on one."""
    arguments, overrides = parse_with_settings(_parser(), argv)
    _require_compiler()
    load_tensorflow()
    from trainer.commands import preflight_report  # noqa: PLC0415 - --help must not wait for TensorFlow
    from trainer.preflight import compiler, preflight, report  # noqa: PLC0415

    workload = _workload(arguments, overrides)
    progress = ProgressLine()
    options = preflight.Options(
        tpu_compiler=compiler.TpuCompiler(pathlib.Path(arguments.cache_dir or compiler.default_cache_dir())),
        price_file=arguments.prices,
        find_largest_batch=arguments.largest_batch,
        progress=lambda name, secs: progress.show(f"compiling for {name}: {format_duration(secs)}"),
    )
    try:
        verdicts = preflight.preflight(workload, arguments.tpu_type.split(","), options)
    except (TypeError, ValueError, RuntimeError) as error:
        if not arguments.module or not _is_of_our_interface(error):
            raise
        raise UserError(str(error), where=f"--module={arguments.module}") from error
    finally:
        progress.close()
    print(preflight_report.text(workload, verdicts))
    if arguments.output:
        directory = pathlib.Path(arguments.output)
        directory.mkdir(parents=True, exist_ok=True)
        write_file(str(directory / _JSON_FILE), report.to_json(workload, verdicts))
        write_file(str(directory / _HTML_FILE), report.to_html(workload, verdicts))
        print(f"\nwritten: {directory / _JSON_FILE}, {directory / _HTML_FILE}")
    return PROBLEM_EXIT_STATUS if any(verdict.problem for verdict in verdicts) else 0


def _require_compiler() -> None:
    missing = [name for name in ("jax", "libtpu") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"not installed: {', '.join(missing)}", remedy="pip install 'tpu-images[cpu,preflight]'")


def _parser() -> CommandParser:
    parser = CommandParser(
        "tpu-images preflight",
        "Compile the training step with the real TPU compiler, and say what it needs. No TPU, no account.",
        epilog=settings_help(),
    )
    parser.add_argument(
        "--tpu_type",
        metavar="TYPE[:SHAPE],...",
        required=True,
        help="topologies to compare: v5e:2x4; v2, v3, v4, v5e, v5p, v6e, tpu7x alone are one chip",
    )
    parser.add_argument("--preset", metavar="NAME", help="configuration to start from: tpu-images presets")
    parser.add_argument("--num_classes", type=_count, default=_NUM_CLASSES, help="(%(default)s)")
    parser.add_argument("--num_train_examples", type=_count, default=_NUM_TRAIN_EXAMPLES, help="(%(default)s)")
    parser.add_argument("--largest_batch", action="store_true", help="search the largest batch that fits, by compiling")
    parser.add_argument("--prices", metavar="FILE", help="TOML file with your prices in [tpu_chip_hour]")
    parser.add_argument(
        "--output", metavar="DIR", type=folder_to_write, help="also write preflight.json and preflight.html there"
    )
    parser.add_argument("--cache_dir", metavar="DIR", type=folder_to_write, help="where compilations are remembered")
    module = parser.add_argument_group("a model_fn of your own, with --global_batch_size and --train_epochs")
    module.add_argument("--module", metavar="PACKAGE:FUNCTION", help="such as my.package:model_fn")
    module.add_argument("--features", metavar="SPEC", help="one example: image=uint8[224,224,3] or float32[28,28,1]")
    module.add_argument("--labels", metavar="SPEC", help="one example: int32[]")
    module.add_argument("--params", metavar="JSON", help="the model_fn's params")
    return parser


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ArgumentTypeError(f"{text} is out of range; give a whole number, at least 1")
    return number


def _workload(arguments: Namespace, overrides: Mapping[str, Any]) -> "Workload":
    from trainer.preflight import image_training, preflight, tensor_specs  # noqa: PLC0415
    from trainer.preflight.training_step import TrainingStep  # noqa: PLC0415

    _check_meant_together(arguments, overrides)
    config = experiment_config(arguments.preset, dict(overrides))
    if not arguments.module:
        return image_training.image_workload(
            config, num_classes=arguments.num_classes, num_train_examples=arguments.num_train_examples
        )
    if not arguments.features:
        raise UserError("is missing", where="--features", remedy="describe one example: --features=uint8[224,224,3]")
    step = TrainingStep(
        model_fn=_load_function(arguments.module),
        features=tensor_specs.parse(arguments.features),
        labels=tensor_specs.parse(arguments.labels) if arguments.labels else None,
        params=_params(arguments.params or "{}"),
    )
    return preflight.Workload(
        name=arguments.module,
        step=step,
        global_batch_size=config.loop.global_batch_size,
        num_examples=round(config.loop.train_epochs * arguments.num_train_examples),
    )


def _check_meant_together(arguments: Namespace, overrides: Mapping[str, Any]) -> None:
    if arguments.module:
        idle = [name for name in overrides if name not in _SETTINGS_OF_ANY_MODEL]
        remedy = "a model_fn of your own takes --params; leave the setting out, or --module"
    else:
        idle = [name for name in ("features", "labels", "params") if getattr(arguments, name)]
        remedy = "it describes a model_fn of your own: name that by --module=package.module:function"
    if idle:
        raise UserError("has no effect here", where=f"--{idle[0]}", remedy=remedy)


def _load_function(text: str) -> Any:
    module_name, _, function_name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    remedy = "write package.module:function, importable from here"
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"cannot be loaded ({error})", where=f"--module={text}", remedy=remedy) from error
    except (Exception, SystemExit) as error:  # whatever the program does when it is imported
        what = f"cannot be loaded ({type(error).__name__}: {error}, at {_place(error)})"
        raise UserError(what, where=f"--module={text}", remedy="mend it; --debug shows the whole trace") from error
    if not callable(function):
        raise UserError(f"is no function ({function!r})", where=f"--module={text}", remedy=remedy)
    return function


def _is_of_our_interface(error: Exception) -> bool:
    """Returns whether it was the Estimator interface that refused what a model_fn is or returned."""
    return error.__traceback__ is not None and _place(error).startswith(f"{_INTERFACE}{os.sep}")


def _place(error: BaseException) -> str:
    """Returns `file:line` of where an error was raised; of a syntax error, where the text is wrong."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}:{last.lineno}"


def _params(text: str) -> Mapping[str, Any]:
    try:
        params = json.loads(text)
    except ValueError as error:
        raise UserError(
            f"is not JSON ({error})", where="--params", remedy="write --params='{\"depth\": 50}'"
        ) from error
    if not isinstance(params, dict):
        raise UserError("is not a JSON object", where="--params", remedy="write --params='{\"depth\": 50}'")
    return params
