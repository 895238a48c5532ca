"""Warm start: first values of variables taken from another model's checkpoint or SavedModel.

What is taken is what TensorFlow 1's Estimator took: a path alone stands for every trainable variable, and nothing that
was asked for is left out in silence.
"""

import collections
import dataclasses
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tensorflow.python.training import saver as savers

from trainer.engine.variables import VariableStore
from trainer.errors import UserError
from trainer.estimator import checkpoints, variable_parts
from trainer.estimator.checkpoints import CheckpointDirectory

VocabInfo = tf.compat.v1.train.VocabInfo


class WarmStartError(UserError, ValueError):
    """The checkpoint does not have what was asked for."""


@dataclasses.dataclass(frozen=True)
class WarmStartSettings:
    """Which variables to take from where.

    Fields:
      ckpt_to_initialize_from: a checkpoint, a directory of which the newest is taken, or the directory of a SavedModel.
      vars_to_warm_start: a regular expression, which names of trainable variables must begin with; a list of such for
        the names of all variables; a list of variables; None for those with a vocabulary alone.
      var_name_to_vocab_info: `VocabInfo`s of variables with a row (or column) for each word of a vocabulary, which
        are put in the order of the new one.
      var_name_to_prev_var_name: for variables that have another name there.
    """

    ckpt_to_initialize_from: str
    vars_to_warm_start: Any = ".*"
    var_name_to_vocab_info: Mapping[str, Any] | None = None
    var_name_to_prev_var_name: Mapping[str, str] | None = None

    def __post_init__(self):
        if not self.ckpt_to_initialize_from:
            raise ValueError("`ckpt_to_initialize_from` MUST be set in WarmStartSettings")


def checked(source: Any) -> WarmStartSettings | None:
    """Returns the settings that a constructor's `warm_start_from` stands for.

    Raises:
      ValueError: it is neither a path nor settings.
    """
    if source is None or isinstance(source, WarmStartSettings):
        return source
    if isinstance(source, (str, bytes)):
        return WarmStartSettings(tf.compat.as_str(source))
    raise ValueError(f"warm_start_from must be a string or a WarmStartSettings, instead got {type(source)}")


def warm_start(store: VariableStore, settings: WarmStartSettings) -> None:
    """Loads first values.

    Raises:
      WarmStartError: the checkpoint lacks a variable that was asked for, or has another shape for it; names them all.
        Or no variable matches `vars_to_warm_start`.
      ValueError: the settings name variables that are not loaded.
    """
    path = _checkpoint(settings.ckpt_to_initialize_from)
    chosen = _chosen(store, settings.vars_to_warm_start)
    vocabularies = dict(settings.var_name_to_vocab_info or {})
    previous = dict(settings.var_name_to_prev_var_name or {})
    for field, names in (("var_name_to_prev_var_name", previous), ("var_name_to_vocab_info", vocabularies)):
        _check_used(field, names, chosen)
    by_value = [] if settings.vars_to_warm_start is None else [name for name in chosen if name not in vocabularies]
    previous = previous or _object_based_names(path, chosen)
    _load(store, path, {name: previous.get(name, name) for name in by_value})
    for name, vocabulary in vocabularies.items():
        store[name].assign(_remapped(path, previous.get(name, name), store[name], vocabulary))
    logging.info("warm start: %d variables from %s", len(by_value) + len(vocabularies), path)


def _checkpoint(path: str) -> str:
    if tf.io.gfile.exists(posixpath.join(path, "variables", "variables.index")):
        return posixpath.join(path, "variables", "variables")
    if not tf.io.gfile.isdir(path):
        return path
    latest = CheckpointDirectory(path).latest()
    if latest is None:
        raise WarmStartError("no checkpoint to start from", where=path)
    return latest


def _chosen(store: VariableStore, wanted: Any) -> list[str]:
    if wanted is None or isinstance(wanted, str):
        return _matching([wanted or ""], store.trainable)
    if not isinstance(wanted, (list, tuple)):
        raise ValueError(f"vars_to_warm_start must be a list or text, got {wanted!r}")
    if all(isinstance(item, str) for item in wanted):
        return _matching(wanted, store.saved)
    if all(isinstance(item, tf.Variable) for item in wanted):
        return [variable.name.partition(":")[0] for variable in wanted]
    raise ValueError(f"vars_to_warm_start must hold names or variables alone, got {wanted!r}")


def _matching(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Returns the names that begin with one of the patterns."""
    names = list(names)
    unused = [pattern for pattern in patterns if not any(re.match(pattern, name) for name in names)]
    if not unused or not names:
        return [name for name in names if any(re.match(pattern, name) for pattern in patterns)]
    message = f"vars_to_warm_start: no variable's name begins with {', '.join(map(repr, unused))}"
    there = f"there are {', '.join(names)}"
    if len(unused) == len(patterns):
        raise WarmStartError(message, remedy=f"correct the pattern: {there}")
    # Not refused: what a prediction lacks (slots of the optimizer, say) may be there in training.
    logging.warning("%s; %s", message, there)
    return [name for name in names if any(re.match(pattern, name) for pattern in patterns)]


def _check_used(field: str, names: Mapping[str, Any], chosen: list[str]) -> None:
    unused = sorted(names.keys() - set(chosen))
    if unused:
        raise ValueError(
            f"You provided the following variables in {field} that were not used: {', '.join(unused)}; the variables "
            f"that are loaded are {', '.join(chosen)}: correct the names, or widen vars_to_warm_start"
        )


def _object_based_names(path: str, names: list[str]) -> dict[str, str]:
    """Returns the keys of variables in a checkpoint of TensorFlow 2, which names them by their place in an object."""
    try:
        keys = savers.object_graph_key_mapping(path)
    except tf.errors.OpError:
        return {}
    return {name: keys[name] for name in names if name in keys}


def _load(store: VariableStore, path: str, names: Mapping[str, str]) -> None:
    wholes = variable_parts.names_of_wholes(store[name] for name in names)
    read = checkpoints.read(path, [*names.values(), *wholes])
    found = {name: variable_parts.value_for(store[name], previous, read) for name, previous in names.items()}
    values = {name: value for name, value in found.items() if value is not None}
    missing = [previous for name, previous in names.items() if name not in values]
    if missing:
        raise WarmStartError(f"has no variable {', '.join(missing)}", where=path, remedy=_REMEDY)
    mismatched = [
        f"{names[name]} has shape {value.shape}, the model's {name} has {tuple(store[name].shape.as_list())}"
        for name, value in values.items()
        if not store[name].shape.is_compatible_with(value.shape)
    ]
    if mismatched:
        raise WarmStartError("; ".join(mismatched), where=path, remedy=_REMEDY)
    for name, value in values.items():
        store[name].assign(value)


_REMEDY = "leave it out of WarmStartSettings(vars_to_warm_start=...), or name it in var_name_to_prev_var_name"


def _remapped(path: str, previous_name: str, variable: tf.Variable, vocabulary: Any) -> np.ndarray:
    """Returns the rows (or columns) of a matrix in the order of the new vocabulary; those of new words are initialised.

    Behind the words are the buckets for words out of the vocabulary, which always start anew.
    """
    old_words = _words(vocabulary.old_vocab, vocabulary.old_vocab_size)
    new_words = _words(vocabulary.new_vocab, vocabulary.new_vocab_size)
    old = _matrix(path, previous_name, vocabulary.axis, len(old_words))
    result = np.moveaxis(_initial(variable, vocabulary.backup_initializer), vocabulary.axis, 0)
    if len(result) != len(new_words) + vocabulary.num_oov_buckets or result.shape[1:] != old.shape[1:]:
        raise WarmStartError(
            f"{previous_name} has {old.shape[1:]} values a word, the model's {variable.name} has {result.shape[1:]} "
            f"for each of {len(result)}, of which {len(new_words)} are in the vocabulary",
            where=path,
            remedy="correct the VocabInfo",
        )
    row_of = {word: row for row, word in enumerate(old_words)}
    if len(row_of) < len(old_words):
        repeated = next(word for word, count in collections.Counter(old_words).items() if count > 1)
        what = f"has the word {repeated.decode(errors='replace')!r} twice: two rows cannot both be its"
        raise WarmStartError(what, where=vocabulary.old_vocab, remedy="leave one of them out of the vocabulary")
    for row, word in enumerate(new_words):
        if word in row_of:
            result[row] = old[row_of[word]]
    return np.moveaxis(result, 0, vocabulary.axis)


def _words(path: str, size: int) -> list[bytes]:
    with tf.io.gfile.GFile(path, "rb") as file:
        # Not splitlines: words may hold separators of Unicode. The last line end begins no word.
        words = [line.removesuffix(b"\r") for line in file.read().removesuffix(b"\n").split(b"\n")]
    if words == [b""]:
        words = []
    if size > len(words):
        raise WarmStartError(
            f"has {len(words)} words, {size} were asked for", where=path, remedy="correct the VocabInfo"
        )
    words = words if size < 0 else words[:size]
    if b"" in words:
        raise WarmStartError("line is empty", where=f"{path}:{words.index(b'') + 1}", remedy="give it one word a line")
    return words


def _matrix(path: str, name: str, axis: int, num_words: int) -> np.ndarray:
    values = checkpoints.read(path, [name])
    if name not in values:
        raise WarmStartError(f"has no variable {name}", where=path, remedy=_REMEDY)
    matrix = np.moveaxis(values[name], axis, 0)
    if len(matrix) < num_words:
        raise WarmStartError(
            f"{name} is for {len(matrix)} words, its vocabulary has {num_words}", where=path, remedy="correct old_vocab"
        )
    return matrix


def _initial(variable: tf.Variable, initializer: Any) -> np.ndarray:
    shape, dtype = variable.shape.as_list(), variable.dtype
    if initializer is None:
        return np.zeros(shape, dtype.as_numpy_dtype)
    return np.array(initializer(shape, dtype=dtype))
