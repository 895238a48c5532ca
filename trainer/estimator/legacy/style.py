"""Which TensorFlow a program means by `import tensorflow as tf`.

It means TensorFlow 1 if any of its modules uses a name that only TensorFlow 1 had (`tf.contrib.*`, `tf.app`,
`tf.layers`, `tf.placeholder`, ...) or reads a dimension by `.value`, and TensorFlow 2 otherwise. One answer holds for
the whole program: names that both versions have may differ in meaning. `tensorflow.compat.v1` and
`tensorflow.compat.v2` mean what they say in either.
"""

import ast
import dataclasses
import importlib.machinery
import os
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.util.lazy_loader import LazyLoader

from trainer.errors import UserError
from trainer.estimator.legacy import imports, table

# Both versions have them, and mean different things: a name below tells which one is meant.
_TELLING_BELOW = ("losses", "metrics")
_VERSION_1_INPUTS = ("estimator", "inputs")


@dataclasses.dataclass(frozen=True)
class Style:
    """The version that a program means, 1 or 2, and what tells so."""

    version: int
    reason: str


def of_program(script: str, package: str = "") -> Style:
    """Reads a script and the modules that it imports from its own repository; runs none of them.

    Args:
      script: path of the script.
      package: the package that it lies in, empty if in none.

    Raises:
      UserError: one of them is not Python 3.
    """
    for path, tree in _sources(script, package):
        for line, name in _uses(tree):
            if _is_version_1_only(name):
                return Style(1, f"{os.path.basename(path)}:{line} uses {'.'.join(['tf', *name])}")
        if (found := _dimension_value(tree)) is not None:
            return Style(1, f"{os.path.basename(path)}:{found} reads a dimension by .value")
    return Style(2, "no name that only TensorFlow 1 had is used")


def names_package(script: str, package: str) -> bool:
    """Returns whether a script imports from the package that it lies in, as one that `python -m` runs may do.

    Raises:
      UserError: it is not Python 3.
    """
    top = package.partition(".")[0]
    return any(name.partition(".")[0] == top for name in _imported(_parsed(script), package))


def not_python_3(error: SyntaxError) -> UserError:
    """Returns the refusal of a module that does not parse."""
    remedy = "a program for Python 2 has to be converted first, by 2to3 for instance"
    return UserError(f"not Python 3 ({error.msg})", where=f"{error.filename}:{error.lineno}", remedy=remedy)


def _sources(script: str, package: str) -> Iterator[tuple[str, ast.Module]]:
    waiting, seen = [(script, package)], set()
    while waiting:
        path, package = waiting.pop(0)
        if path in seen:
            continue
        seen.add(path)
        tree = _parsed(path)
        yield path, tree
        waiting += [found for name in _imported(tree, package) if (found := _file_of(name)) is not None]


def _parsed(path: str) -> ast.Module:
    with open(path, "rb") as file:
        source = file.read()
    try:
        return ast.parse(source, path)
    except SyntaxError as error:
        raise not_python_3(error) from error


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*parents, *([node.module] if node.module else [])])


def _file_of(name: str) -> tuple[str, str] | None:
    """Returns the source file of a module of the program, and the package that its relative imports start from."""
    path: Sequence[str] | None = None
    spec = None
    for part in name.split("."):
        # By its last part alone: a folder without __init__.py in another wants the outer one to be loaded.
        spec = importlib.machinery.PathFinder.find_spec(part, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    if spec is None or not imports.is_program_file(spec.origin):
        return None
    is_package = spec.submodule_search_locations is not None
    return str(spec.origin), name if is_package else name.rpartition(".")[0]


def _uses(tree: ast.Module) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields line and name of each use of `tensorflow`, as imported without a version: `("layers", "Dense")`."""
    aliases = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "tensorflow":
                    aliases.add(alias.asname or "tensorflow")
                elif alias.name.startswith("tensorflow."):
                    yield node.lineno, tuple(alias.name.split(".")[1:])
        elif (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").partition(".")[0] == "tensorflow"
        ):
            for alias in node.names:
                yield node.lineno, (*str(node.module).split(".")[1:], alias.name)
    for node in ast.walk(tree):
        name = _chain(node)
        if name and name[0] in aliases:
            yield node.lineno, name[1:]  # type: ignore[attr-defined]


def _dimension_value(tree: ast.Module) -> int | None:
    """Returns a line like `x.shape[0].value`, `shape.dims[0].value` or `x.get_shape()[0].value`, if there is one."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr == "value" and isinstance(node.value, ast.Subscript)):
            continue
        shape = node.value.value.func if isinstance(node.value.value, ast.Call) else node.value.value
        if isinstance(shape, ast.Attribute) and shape.attr in ("dims", "get_shape", "shape"):
            return node.lineno
    return None


def _chain(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        base = _chain(node.value)
        return (*base, node.attr) if base else ()
    return ()


def _is_version_1_only(name: tuple[str, ...]) -> bool:
    if name[:2] == _VERSION_1_INPUTS:
        return True
    if not name or name[0] in ("compat", "python", "core", "estimator", "keras"):
        return False
    if f"tensorflow.{name[0]}" in table.GONE_PACKAGES:
        return True
    if name[0] in _TELLING_BELOW:
        return len(name) > 1 and hasattr(getattr(tf.compat.v1, name[0]), name[1])
    return _ends_early(tf, name) and not _ends_early(tf.compat.v1, name)


def _ends_early(module: Any, name: tuple[str, ...]) -> bool:
    """Returns whether a name is missing from a version's namespace; what Keras has is not looked into."""
    for part in name:
        if isinstance(module, LazyLoader) or not isinstance(module, type(tf)):
            return False
        if not hasattr(module, part):
            return True
        module = getattr(module, part)
    return False
