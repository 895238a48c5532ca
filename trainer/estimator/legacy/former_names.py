"""Python, NumPy and PyYAML as programs of that time knew them: today's modules, with dropped names put back.

Only the program's modules see these.
"""

import collections
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any


def _of(module: str, *names: str) -> dict[str, str]:
    return {name: f"{module}:{name}" for name in names}


# Names that Python, NumPy and PyYAML had in the days of TensorFlow 1 and have dropped, or whose call has changed.
FORMER_NAMES: Mapping[str, Mapping[str, str]] = {
    "collections": _of(
        "collections.abc",
        "Callable",
        "Container",
        "Hashable",
        "ItemsView",
        "Iterable",
        "Iterator",
        "KeysView",
        "Mapping",
        "MappingView",
        "MutableMapping",
        "MutableSequence",
        "MutableSet",
        "Sequence",
        "Set",
        "Sized",
        "ValuesView",
    ),
    "fractions": _of("math", "gcd"),
    "inspect": _of(__name__, "getargspec"),
    "numpy": {
        **_of("builtins", "complex", "float", "int", "object", "str"),
        "Inf": "numpy:inf",
        "Infinity": "numpy:inf",
        "NAN": "numpy:nan",
        "NaN": "numpy:nan",
        "alltrue": "numpy:all",
        "complex_": "numpy:complex128",
        "cumproduct": "numpy:cumprod",
        "float_": "numpy:float64",
        "infty": "numpy:inf",
        "product": "numpy:prod",
        "round_": "numpy:round",
        "sometrue": "numpy:any",
        "string_": "numpy:bytes_",
        "trapz": "numpy:trapezoid",
        "unicode": "builtins:str",
        "unicode_": "numpy:str_",
    },
    "time": {"clock": "time:process_time"},
    "yaml": {"load": f"{__name__}:yaml_load", "load_all": f"{__name__}:yaml_load_all"},
}

ArgSpec = collections.namedtuple("ArgSpec", ["args", "varargs", "keywords", "defaults"])


class FormerModule(types.ModuleType):
    """A module whose names come from `names` first, as `"module:attribute"`, then from the module of today."""

    def __init__(self, real: types.ModuleType, names: Mapping[str, str], resolve: Callable[[str], Any]):
        super().__init__(real.__name__, real.__doc__)
        self.__spec__ = real.__spec__
        self.__dict__["_former"] = (real, names, resolve)

    def __getattr__(self, name: str) -> Any:
        real, names, resolve = self.__dict__["_former"]
        return resolve(names[name]) if name in names else getattr(real, name)

    def __dir__(self) -> list[str]:
        real, names, _ = self.__dict__["_former"]
        return sorted({*names, *dir(real)})


def getargspec(function: Callable[..., Any]) -> ArgSpec:
    """Returns the names and defaults of a function's arguments, as `inspect` did before Python 3.11.

    Raises:
      ValueError: it has keyword-only arguments or annotations, which this form cannot say.
    """
    spec = inspect.getfullargspec(function)
    if spec.kwonlyargs or spec.annotations:
        raise ValueError("the function has keyword-only arguments or annotations; getfullargspec() tells them")
    return ArgSpec(spec.args, spec.varargs, spec.varkw, spec.defaults)


def yaml_load(stream: Any, Loader: Any = None) -> Any:  # noqa: N803 - PyYAML's name
    """Returns the first document of YAML text or of a file; `Loader` may be left out, as before PyYAML 6."""
    import yaml  # noqa: PLC0415 - programs bring it, we do not need it

    return yaml.load(stream, Loader or yaml.FullLoader)  # noqa: S506 - FullLoader makes plain values only


def yaml_load_all(stream: Any, Loader: Any = None) -> Iterator[Any]:  # noqa: N803 - PyYAML's name
    """Yields every document of YAML text or of a file, as `yaml_load` does."""
    import yaml  # noqa: PLC0415 - programs bring it, we do not need it

    return yaml.load_all(stream, Loader or yaml.FullLoader)
