"""Runs a program of yesterday, as `python SCRIPT.py FLAGS` did, with TensorFlow's old names put back meanwhile."""

import contextlib
import importlib.util
import os
import sys
import traceback
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from trainer.errors import UserError
from trainer.estimator.legacy import eager_execution, facade, imports, style
from trainer.estimator.legacy.facade import Facades
from trainer.estimator.legacy.imports import ProgramFinder, ProgramImports


def run(script: str, arguments: Sequence[str], version: int | None = None) -> int:
    """Runs a script as the main program, and restores what it found when the script ends.

    Args:
      script: path of the program.
      arguments: the program's own.
      version: which TensorFlow `import tensorflow as tf` means, 1 or 2; None reads it from the program.

    Returns:
      The exit status.

    Raises:
      UserError: there is no such script, Keras 2 or a module of the program is not installed, the program is not Python
        3, or uses a name that is not provided.
    """
    path = os.path.abspath(script)
    if not os.path.isfile(path):
        raise UserError("no such script", where=script, remedy="give the path of the program to run")
    if importlib.util.find_spec("tf_keras") is None:
        raise UserError("Keras 2 (tf_keras) is not installed", remedy="pip install --no-deps tf_keras")
    directory = os.path.dirname(path)
    package, root = imports.package_of(directory)
    with _sys_restored():
        sys.argv = [script, *arguments]
        runs_as_module = bool(package) and style.names_package(path, package)
        # As `python -m PACKAGE.SCRIPT` or `python SCRIPT` has it. What the other would find comes last, for it may be
        # called as one of Python's modules.
        before, after = (root, directory) if runs_as_module else (directory, root)
        sys.path[:] = [before, *sys.path, after]
        found = style.of_program(path, package) if version is None else style.Style(version, "as asked for")
        print(
            f"tpu-images legacy: `import tensorflow` means TensorFlow {found.version}: {found.reason}", file=sys.stderr
        )
        first = [package.partition(".")[0]] if runs_as_module else os.listdir(directory)
        program = ProgramImports(Facades(found.version), first)
        with _modules_installed(program, found.version), _behaviour(found.version), _quiet():
            return _execute(path, package, program)


def _execute(path: str, package: str, program: ProgramImports) -> int:
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=path, __package__=package or None, __builtins__=program.builtins)
    sys.modules["__main__"] = main
    with open(path, "rb") as file:
        source = file.read()
    try:
        exec(compile(source, path, "exec"), main.__dict__)  # noqa: S102 - running the program is what this is for
    except SystemExit as exit_request:
        return _exit_status(exit_request.code)
    except (facade.UnknownNameError, facade.UnknownModuleError) as error:
        raise UserError(error.what, where=_place(error), remedy="docs/legacy.md lists what is provided") from error
    except SyntaxError as error:
        if not imports.is_program_file(error.filename):
            raise
        raise style.not_python_3(error) from error
    except ModuleNotFoundError as error:
        if error.name is None:
            raise
        remedy = "install it, or name the directory that it lies in in PYTHONPATH"
        raise UserError(f"there is no module {error.name}", where=_place(error), remedy=remedy) from error
    return 0


def _exit_status(code: Any) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _place(error: BaseException) -> str:
    """Returns the line of the program that an error comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}:{frame.lineno}" for frame in frames if imports.is_program_file(frame.filename)]
    return lines[-1] if lines else ""


@contextlib.contextmanager
def _sys_restored() -> Iterator[None]:
    saved = (sys.argv, sys.path[:], sys.meta_path[:], sys.modules["__main__"])
    saved_flags = flagsaver.save_flag_values(flags.FLAGS)
    try:
        yield
    finally:
        sys.argv, sys.path[:], sys.meta_path[:], sys.modules["__main__"] = saved
        flagsaver.restore_flag_values(saved_flags, flags.FLAGS)


@contextlib.contextmanager
def _modules_installed(program: ProgramImports, version: int) -> Iterator[None]:
    """Puts the gone modules into `sys.modules`, for `importlib`, and takes them out with those of the program."""
    before = set(sys.modules)
    gone = Facades(version).gone()
    replaced = {name: sys.modules[name] for name in gone if name in sys.modules}
    sys.modules.update(gone)
    sys.meta_path.insert(0, ProgramFinder(program))  # type: ignore[arg-type]
    try:
        yield
    finally:
        added = {name: module for name, module in sys.modules.items() if name not in before}
        # All are found before any is removed: a folder inside another finds itself through that one.
        for name in [*gone, *(name for name, module in added.items() if imports.is_program_module(module))]:
            sys.modules.pop(name, None)
        sys.modules.update(replaced)


@contextlib.contextmanager
def _behaviour(version: int) -> Iterator[None]:
    """Lets a program for TensorFlow 1 build graphs, read dimensions by `.value`, and have tensors as keys."""
    if version != 1:
        yield
        return
    tf.compat.v1.disable_v2_tensorshape()
    tf.compat.v1.disable_tensor_equality()
    try:
        with eager_execution.building_graphs():
            yield
    finally:
        tf.compat.v1.enable_tensor_equality()
        tf.compat.v1.enable_v2_tensorshape()
        tf.compat.v1.reset_default_graph()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out advice to rewrite the program, and prints each of TensorFlow's log lines once."""
    logger = tf.get_logger()
    propagates = logger.propagate
    logger.propagate = propagates and not logger.handlers
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`(tf|layer)\.\S+` (is deprecated|will be removed)", UserWarning)
            yield
    finally:
        logger.propagate = propagates
