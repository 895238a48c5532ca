"""`HParams` of `tf.contrib.training`: named hyperparameters, each of one type."""

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

_ASSIGNMENT = re.compile(
    r"\s*(?P<name>[A-Za-z]\w*)(?:\[(?P<index>\d+)\])?\s*=\s*(?P<value>\[[^\]]*\]|[^,\[]*)\s*(?:,|$)"
)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class HParams:
    """Hyperparameters as attributes; each keeps the type of its first value.

    Args:
      **values: names and first values: numbers, strings, booleans, or non-empty lists of one of these.

    Raises:
      ValueError: a name is taken, unknown, or a value is not of the parameter's type.
    """

    def __init__(self, hparam_def: Any = None, model_structure: Any = None, **values: Any):
        if hparam_def is not None:
            raise ValueError("HParams(hparam_def=...) is not supported: give the values by name")
        del model_structure
        self._types: dict[str, tuple[type, bool]] = {}
        for name, value in values.items():
            self.add_hparam(name, value)

    def add_hparam(self, name: str, value: Any) -> None:
        """Adds a parameter."""
        if getattr(self, name, None) is not None:
            raise ValueError(f"hyperparameter name is reserved or taken: {name}")
        is_list = isinstance(value, (list, tuple))
        if is_list and not value:
            raise ValueError(f"a hyperparameter that is a list needs an element to tell its type: {name}")
        self._types[name] = (type(value[0]) if is_list else type(value), is_list)
        setattr(self, name, list(value) if is_list else value)

    def set_hparam(self, name: str, value: Any) -> None:
        """Changes a parameter that is there."""
        kind, is_list = self._type_of(name)
        if is_list != isinstance(value, (list, tuple)):
            raise ValueError(f"hyperparameter {name} must {'be' if is_list else 'not be'} a list, got {value!r}")
        converted = [_converted(name, kind, element) for element in (value if is_list else [value])]
        setattr(self, name, converted if is_list else converted[0])

    def del_hparam(self, name: str) -> None:
        """Removes a parameter, if it is there."""
        if name in self._types:
            delattr(self, name)
            del self._types[name]

    def parse(self, values: str) -> "HParams":
        """Changes parameters as `"name=value,list=[1,2],list[0]=3"` says; returns self."""
        position = 0
        while position < len(values.rstrip()):
            match = _ASSIGNMENT.match(values, position)
            if match is None or match.end() == position:
                raise ValueError(
                    f"malformed hyperparameters: {values[position:]!r}; write name=value,name=[value,value]"
                )
            self._assign(match["name"], match["index"], match["value"].strip())
            position = match.end()
        return self

    def override_from_dict(self, values: Mapping[str, Any]) -> "HParams":
        """Changes the parameters named in `values`; returns self."""
        for name, value in values.items():
            self.set_hparam(name, value)
        return self

    def parse_json(self, values_json: str) -> "HParams":
        """Changes the parameters in a JSON object; returns self."""
        return self.override_from_dict(json.loads(values_json))

    def to_json(self, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
        """Returns the values as a JSON object."""
        return json.dumps(self.values(), indent=indent, separators=separators, sort_keys=sort_keys)

    def values(self) -> dict[str, Any]:
        """Returns the values by name."""
        return {name: getattr(self, name) for name in self._types}

    def get(self, key: str, default: Any = None) -> Any:
        """Returns a value, or the default if there is no such parameter."""
        return getattr(self, key) if key in self._types else default

    def __contains__(self, key: str) -> bool:
        return key in self._types

    def __repr__(self) -> str:
        return f"HParams({', '.join(f'{name}={value!r}' for name, value in sorted(self.values().items()))})"

    def _type_of(self, name: str) -> tuple[type, bool]:
        if name not in self._types:
            raise ValueError(f"unknown hyperparameter: {name}; there are {', '.join(sorted(self._types))}")
        return self._types[name]

    def _assign(self, name: str, index: str | None, text: str) -> None:
        kind, is_list = self._type_of(name)
        if index is not None:
            elements = list(getattr(self, name))
            elements[int(index)] = _parsed(name, kind, text)
            self.set_hparam(name, elements)
        elif is_list:
            self.set_hparam(name, [_parsed(name, kind, element.strip()) for element in text.strip("[]").split(",")])
        else:
            self.set_hparam(name, _parsed(name, kind, text))


def _parsed(name: str, kind: type, text: str) -> Any:
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"hyperparameter {name} must be true or false, got {text!r}")
        return _BOOLEANS[text.lower()]
    if kind is str:
        return text
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"hyperparameter {name} must be of type {kind.__name__}, got {text!r}") from error


def _converted(name: str, kind: type, value: Any) -> Any:
    if kind is type(None) or value is None or type(value) is kind:
        return value
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in (int, float) and is_number and kind(value) == value:
        return kind(value)
    raise ValueError(f"hyperparameter {name} must be of type {kind.__name__}, got {value!r}")
