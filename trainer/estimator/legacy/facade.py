"""Modules as programs of yesterday expect them: today's TensorFlow, with the table's names put back."""

import difflib
import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Iterable
from typing import Any

import tensorflow as tf
from tensorflow.python.util.lazy_loader import LazyLoader

from trainer.errors import UserError
from trainer.estimator.legacy import former_names, table

# Where the modules of TensorFlow's public namespace lie; their names change while TensorFlow is loaded.
_API_DIRECTORY = os.path.join(os.path.dirname(str(tf.__file__)), "_api") + os.sep
# Where both versions lie side by side; the second is the place that editors write into imports.
_VERSIONED = ("tensorflow.compat", "tensorflow._api")
_PATHS = {
    ".".join(parts[:length])
    for parts in (path.split(".") for path in table.MODULES)
    for length in range(1, len(parts) + 1)
}


class UnknownNameError(UserError, AttributeError):
    """A program asks for a name that is neither in the table nor in today's TensorFlow."""


class UnknownModuleError(UserError, ModuleNotFoundError):
    """A program imports a module that is neither in the table nor in today's TensorFlow."""


class Facade(types.ModuleType):
    """A module whose names come from the table first, then from the module that it stands for."""

    def __init__(self, path: str, version: int, real: Any, facades: "Facades"):
        super().__init__(path, getattr(real, "__doc__", None))
        if real is None:
            self.__path__: list[str] = []
        self.__spec__ = importlib.machinery.ModuleSpec(path, None, is_package=True)
        self._legacy = (path, version, real, facades)

    def __getattr__(self, name: str) -> Any:
        path, version, real, facades = self._legacy
        if name == "__all__":
            return [known for known in dir(self) if not known.startswith("_")]
        value = facades.find(path, version, real, name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        path, _, real, _ = self._legacy
        return sorted({*_names_in(path), *dir(real)})

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """Every name by value, for programs that look one up, or replace it: `tf.logging.__dict__["INFO"]`."""
        for name in dir(self):
            hasattr(self, name)  # stores it
        return super().__dict__


class Facades:
    """The facades that one program sees.

    Args:
      version: which TensorFlow `import tensorflow as tf` means: 1 or 2.
    """

    def __init__(self, version: int):
        self._version = version
        self._made: dict[tuple[str, int], Facade] = {}

    def module(self, path: str) -> Any:
        """Returns the module that `import path` gives: a facade, Keras 2, or the module itself.

        Raises:
          UnknownModuleError: there is none.
        """
        path = path.replace("tensorflow._api.v2.v2", "tensorflow._api.v2")  # the same under a second name
        for package, replacement in table.KERAS_2_PACKAGES.items():
            if path == package or path.startswith(package + "."):
                return importlib.import_module(replacement + path.removeprefix(package))
        if path in _PATHS or path.startswith(_VERSIONED) or path == "tensorflow":
            return self._walk(path)
        if is_gone(path):
            raise UnknownModuleError(*_unknown(path, _PATHS))
        return importlib.import_module(path)

    def gone(self) -> dict[str, Facade]:
        """Returns every module of the table of which TensorFlow has nothing left, by path."""
        return {path: self.module(path) for path in sorted(_PATHS) if is_gone(path)}

    def find(self, path: str, version: int, real: Any, name: str) -> Any:
        """Returns what `name` means in the module `path`.

        Raises:
          UnknownNameError: nothing.
        """
        child = f"{path}.{name}"
        if self._version == 1 and child in table.VERSION_NAMES:
            return table.VERSION_1
        return _special(path, real, name) if name.startswith("__") else self._public(path, version, real, name)

    def _public(self, path: str, version: int, real: Any, name: str) -> Any:
        child = f"{path}.{name}"
        row = table.MODULES.get(path)
        if row is not None and name in row.names:
            return resolve(row.names[name])
        if version == 1 and child in table.VERSION_1_NAMES:
            return resolve(table.VERSION_1_NAMES[child])
        keras_2 = {**table.KERAS_2_PACKAGES, **table.KERAS_2[version]}
        if child in keras_2:
            return importlib.import_module(keras_2[child])
        if path in _VERSIONED and name in ("v1", "v2"):
            return self._facade("tensorflow", int(name[1]), tf.compat.v1 if name == "v1" else tf)
        value = _attribute(real, name, child)
        if child in _PATHS or _is_api_module(value):
            return self._facade(child, version, value)
        if value is not None or hasattr(real, name):
            return value
        raise UnknownNameError(*_unknown(child, [f"{path}.{known}" for known in {*_names_in(path), *dir(real)}]))

    def _walk(self, path: str) -> Any:
        root, *parts = path.split(".")
        module: Any = self._facade(root, self._version, _real_root(root, self._version))
        for part in parts:
            module = getattr(module, part)
        return module

    def _facade(self, path: str, version: int, real: Any) -> Facade:
        if (path, version) not in self._made:
            row = table.MODULES.get(path)
            real = importlib.import_module(row.rest) if row is not None and row.rest else real
            self._made[path, version] = Facade(path, version, real, self)
        return self._made[path, version]


def is_gone(path: str) -> bool:
    """Returns whether a module's path lies in a package of which TensorFlow has nothing left."""
    return any(path == package or path.startswith(package + ".") for package in table.GONE_PACKAGES)


def resolve(target: str) -> Any:
    """Returns what a target of the table names: `"module"` or `"module:attribute.path"`."""
    module, _, attributes = target.partition(":")
    value = _imported(module)
    for attribute in filter(None, attributes.split(".")):
        value = getattr(value, attribute)
    return value


def load_targets() -> None:
    """Imports what the table names of ours: from now on `resolve` does not look where `trainer` is."""
    rows = [row.names for row in table.MODULES.values()] + list(former_names.FORMER_NAMES.values())
    for target in {target for names in rows for target in names.values() if target.startswith("trainer.")}:
        resolve(target)


@functools.cache
def _imported(module: str) -> types.ModuleType:
    return importlib.import_module(module)


def _real_root(root: str, version: int) -> Any:
    if root != "tensorflow":
        return None
    return tf.compat.v1 if version == 1 else tf


def _special(path: str, real: Any, name: str) -> Any:
    """Returns what `__version__`, `__file__` and the like are in the module that a facade stands for."""
    # The root of either version lies where TensorFlow does: programs look for files beside it.
    module = tf if path == "tensorflow" else real
    if not isinstance(module, types.ModuleType) or not hasattr(module, name):
        raise UnknownNameError(f"{_spelled(path)}.{name} is not provided")
    return getattr(module, name)


def _attribute(real: Any, name: str, child: str) -> Any:
    value = getattr(real, name, None)
    if value is not None or is_gone(child):
        return value
    # TensorFlow hides its inner packages from its namespace, but a program that imported one may walk there.
    return sys.modules.get(child) or _inner_module(child)


def _inner_module(path: str) -> types.ModuleType | None:
    """Returns a module that lies in TensorFlow's source, which a program may import from its package; else None."""
    package = sys.modules.get(path.rpartition(".")[0])
    if not path.startswith("tensorflow.python.") or not hasattr(package, "__path__"):
        return None
    return importlib.import_module(path) if importlib.util.find_spec(path) is not None else None


def _is_api_module(value: Any) -> bool:
    is_module = isinstance(value, types.ModuleType) and not isinstance(value, LazyLoader)
    return is_module and str(getattr(value, "__file__", "")).startswith(_API_DIRECTORY)


def _names_in(path: str) -> set[str]:
    row = table.MODULES.get(path)
    below = {known.removeprefix(path + ".").partition(".")[0] for known in _PATHS if known.startswith(path + ".")}
    return below | set(row.names if row is not None else ())


def _unknown(path: str, known: Iterable[str]) -> tuple[str]:
    if not set(path.split(".")).isdisjoint(table.CANNED):
        return (f"{_spelled(path)} is not provided, as no canned estimator is: give an Estimator a model_fn instead",)
    candidates = sorted(name for name in known if not name.rpartition(".")[2].startswith("_"))
    (nearest,) = difflib.get_close_matches(path, candidates, n=1, cutoff=0) or ("",)
    return (f"{_spelled(path)} is not provided; the nearest supported name is {_spelled(nearest)}",)


def _spelled(path: str) -> str:
    return "tf." + path.removeprefix("tensorflow.") if path.startswith("tensorflow.") else path
