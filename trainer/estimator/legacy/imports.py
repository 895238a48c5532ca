"""How a program's modules import: the program sees facades of TensorFlow, the libraries it uses see TensorFlow itself.

So it is with the few other modules that have dropped names which programs use (`former_names`). Each module of the
program is given an `__import__` of its own; no other module is touched.
"""

import builtins
import contextlib
import importlib.machinery
import os
import site
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from trainer.estimator.legacy import facade
from trainer.estimator.legacy.facade import Facade, Facades, UnknownModuleError
from trainer.estimator.legacy.former_names import FORMER_NAMES, FormerModule

_FACED = ("tensorflow", "tensorflow_estimator")
_OUR_PACKAGES = ("preprocessing", "trainer")


class ProgramImports:
    """Imports for the modules of one program.

    Args:
      facades: what the program sees of TensorFlow.
      first: files and folders of the program; its modules of these names come before those that are loaded.
    """

    def __init__(self, facades: Facades, first: Iterable[str]):
        self._facades = facades
        self.builtins = {**vars(builtins), "__import__": self.import_module}
        # Modules of the program that are called as one that this process has loaded already, such as `preprocessing`.
        self._own: dict[str, dict[str, types.ModuleType]] = {name: {} for name in _shadowed(first)}
        if not self._own.keys().isdisjoint(_OUR_PACKAGES):
            # Modules of the program run while ours are out of sight.
            facade.load_targets()
        self._former: dict[str, FormerModule] = {}

    def import_module(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Does what `__import__` does, for a module of the program."""
        package = name.partition(".")[0]
        if level == 0 and package in _FACED:
            return self._import_faced(name, package, fromlist or ())
        if level:
            package = ((globals or {}).get("__package__") or "").partition(".")[0]
        with self._in_place_of_loaded(package):
            return self._with_former_names(builtins.__import__(name, globals, locals, fromlist or (), level))

    def _with_former_names(self, module: Any) -> Any:
        """Returns what the program sees of a module: of its own, and of most others, the module itself."""
        if not isinstance(module, types.ModuleType):  # an object that a module put in its own place
            return module
        name = module.__name__
        if name not in FORMER_NAMES or is_program_module(module):
            return module
        if name not in self._former:
            self._former[name] = FormerModule(module, FORMER_NAMES[name], facade.resolve)
        return self._former[name]

    def _import_faced(self, name: str, package: str, fromlist: Sequence[str]) -> Any:
        module = self._facades.module(name)
        if not fromlist:
            return self._facades.module(package)
        if isinstance(module, Facade):
            _check_names(module, fromlist)
            return module
        return builtins.__import__(module.__name__, None, None, fromlist)

    @contextlib.contextmanager
    def _in_place_of_loaded(self, package: str) -> Iterator[None]:
        if package not in self._own:
            yield
            return
        loaded = _taken_out(package)
        sys.modules.update(self._own[package])
        try:
            yield
        finally:
            self._own[package] = _taken_out(package)
            sys.modules.update(loaded)


class ProgramFinder:
    """Finds the program's modules, on the import system's meta path; what is installed is left to others."""

    def __init__(self, imports: ProgramImports):
        self._imports = imports

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """Returns the spec of a module of the program; None for any other.

        Raises:
          UnknownModuleError: a module of a package that TensorFlow no longer has, and the table neither.
        """
        if facade.is_gone(name):
            raise UnknownModuleError(f"{name} is not provided")
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or not is_program_file(spec.origin):
            return None
        spec.loader = _ProgramLoader(name, str(spec.origin), self._imports)
        return spec


class _ProgramLoader(importlib.machinery.SourceFileLoader):
    """Executes a module of the program with the program's imports."""

    def __init__(self, name: str, path: str, imports: ProgramImports):
        super().__init__(name, path)
        self._imports = imports

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__["__builtins__"] = self._imports.builtins
        super().exec_module(module)


def is_program_module(module: types.ModuleType) -> bool:
    """Returns whether a loaded module is one of a program's, or may be: a folder without `__init__.py`."""
    spec = getattr(module, "__spec__", None)
    if isinstance(getattr(spec, "loader", None), _ProgramLoader):
        return True
    if spec is None or spec.origin is not None or not spec.submodule_search_locations:
        return False
    return not any(_is_installed(folder) for folder in spec.submodule_search_locations)


def is_program_file(path: str | None) -> bool:
    """Returns whether a source file may belong to a program: it is neither installed nor ours."""
    return path is not None and path.endswith(".py") and not _is_installed(path)


def _is_installed(path: str) -> bool:
    path = os.path.realpath(path)
    return any(path.startswith(directory + os.sep) for directory in _installed_directories())


def _installed_directories() -> list[str]:
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    found = [sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [*site.getsitepackages(), site.getusersitepackages()]
    found += [os.path.join(ours, package) for package in _OUR_PACKAGES]
    return [os.path.realpath(directory) for directory in found]


def package_of(directory: str) -> tuple[str, str]:
    """Returns the package that a directory is, empty if it is none, and the directory that it is imported from."""
    parts: list[str] = []
    while os.path.basename(directory) and os.path.isfile(os.path.join(directory, "__init__.py")):
        directory, name = os.path.split(directory)
        parts.insert(0, name)
    return ".".join(parts), directory


def _shadowed(first: Iterable[str]) -> list[str]:
    names = [name.removesuffix(".py") for name in first]
    return [
        name for name in names if name in sys.modules and name not in sys.stdlib_module_names and name != "__main__"
    ]


def _taken_out(package: str) -> dict[str, types.ModuleType]:
    names = [name for name in sys.modules if name == package or name.startswith(package + ".")]
    return {name: sys.modules.pop(name) for name in names}


def _check_names(module: Facade, names: Sequence[str]) -> None:
    """Raises UnknownModuleError, which is an ImportError, where the interpreter would hide what is missing."""
    for name in names:
        if name == "*":
            continue
        try:
            getattr(module, name)
        except facade.UnknownNameError as error:
            raise UnknownModuleError(error.what) from error
