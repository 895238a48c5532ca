"""Exporters: which of the evaluated models become SavedModels."""

import abc
import json
import posixpath
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.estimator.export_outputs import TensorServingInputReceiver

ServingInputReceiverFn = Callable[[], TensorServingInputReceiver]
# (best_eval_result, current_eval_result) -> bool, both passed by these names.
CompareFn = Callable[..., bool]


class Exporter(abc.ABC):
    """Is offered each evaluated checkpoint, and exports it or not."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The directory of its exports, below `export/`."""

    @abc.abstractmethod
    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> str | None:
        """Returns the directory of the export, or None for no export.

        Args:
          estimator: the `Estimator`.
          export_path: where its exports go.
          checkpoint_path: the checkpoint that has been evaluated.
          eval_result: the metrics of that evaluation.
          is_the_final_export: whether training has ended.
        """


class _SavedModelExporter(Exporter):
    """Exports by `export_saved_model`, and keeps the newest few."""

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: ServingInputReceiverFn,
        assets_extra: Mapping[str, str] | None,
        as_text: bool,
        exports_to_keep: int | None,
    ):
        if exports_to_keep is not None and exports_to_keep <= 0:
            raise ValueError(f"`exports_to_keep`, if provided, must be a positive number. Got {exports_to_keep}")
        self._name = name
        self._serving_input_receiver_fn = serving_input_receiver_fn
        self._assets_extra = assets_extra
        self._as_text = as_text
        self._exports_to_keep = exports_to_keep

    @property
    def name(self) -> str:
        return self._name

    def _export(self, estimator: Any, export_path: str, checkpoint_path: str) -> str:
        export_dir = estimator.export_saved_model(
            export_path,
            self._serving_input_receiver_fn,
            assets_extra=self._assets_extra,
            as_text=self._as_text,
            checkpoint_path=checkpoint_path,
        )
        if self._exports_to_keep is not None:
            for old in export_dirs(export_path)[: -self._exports_to_keep]:
                tf.io.gfile.rmtree(old)
        return export_dir


class LatestExporter(_SavedModelExporter):
    """Exports every evaluated checkpoint; keeps the newest `exports_to_keep` (None: all)."""

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: ServingInputReceiverFn,
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
        exports_to_keep: int | None = 5,
    ):
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text, exports_to_keep)

    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> str | None:
        """See `Exporter.export`."""
        del eval_result, is_the_final_export
        return self._export(estimator, export_path, checkpoint_path)


class FinalExporter(_SavedModelExporter):
    """Exports once, when training has ended."""

    def __init__(
        self,
        name: str,
        serving_input_receiver_fn: ServingInputReceiverFn,
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
    ):
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text, exports_to_keep=None)

    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> str | None:
        """See `Exporter.export`."""
        del eval_result
        return self._export(estimator, export_path, checkpoint_path) if is_the_final_export else None


def loss_is_smaller(best_eval_result: Mapping[str, Any], current_eval_result: Mapping[str, Any]) -> bool:
    """Compares two evaluations by their loss.

    Raises:
      ValueError: one of them has none.
    """
    if "loss" not in (best_eval_result or {}):
        raise ValueError("best_eval_result cannot be empty or no loss is found in it")
    if "loss" not in (current_eval_result or {}):
        raise ValueError("current_eval_result cannot be empty or no loss is found in it")
    return bool(best_eval_result["loss"] > current_eval_result["loss"])


class BestExporter(_SavedModelExporter):
    """Exports a checkpoint that is better than all before it, those before a restart among them.

    Args:
      name: the directory of its exports, below `export/`.
      serving_input_receiver_fn: as for `export_saved_model`.
      event_file_pattern: accepted; the best result is kept in `best_eval_result.json` beside the exports.
      compare_fn: `compare_fn(best_eval_result=, current_eval_result=)`: is the current one better?
      assets_extra: as for `export_saved_model`.
      as_text: as for `export_saved_model`.
      exports_to_keep: the newest so many are kept; None for all.
    """

    def __init__(
        self,
        name: str = "best_exporter",
        serving_input_receiver_fn: ServingInputReceiverFn | None = None,
        event_file_pattern: str | None = None,
        compare_fn: CompareFn = loss_is_smaller,
        assets_extra: Mapping[str, str] | None = None,
        as_text: bool = False,
        exports_to_keep: int | None = 5,
    ):
        del event_file_pattern
        if not callable(compare_fn):
            raise ValueError("`compare_fn` must be callable")
        if serving_input_receiver_fn is None:
            raise ValueError("`serving_input_receiver_fn` must be given")
        super().__init__(name, serving_input_receiver_fn, assets_extra, as_text, exports_to_keep)
        self._compare_fn = compare_fn

    def export(
        self,
        estimator: Any,
        export_path: str,
        checkpoint_path: str,
        eval_result: Mapping[str, Any],
        is_the_final_export: bool,
    ) -> str | None:
        """See `Exporter.export`."""
        del is_the_final_export
        record_path = posixpath.join(export_path, "best_eval_result.json")
        best = _read_result(record_path)
        if best is not None and not self._compare_fn(best_eval_result=best, current_eval_result=eval_result):
            return None
        logging.info("best model so far: %s", checkpoint_path)
        export_dir = self._export(estimator, export_path, checkpoint_path)
        _write_result(record_path, eval_result)
        return export_dir


def export_dirs(export_path: str) -> list[str]:
    """Returns the exports below a directory, oldest first."""
    if not tf.io.gfile.isdir(export_path):
        return []
    names = [name.rstrip("/") for name in tf.io.gfile.listdir(export_path)]
    return [posixpath.join(export_path, name) for name in sorted((n for n in names if n.isdigit()), key=int)]


def checked(exporters: Exporter | Iterable[Exporter] | None) -> tuple[Exporter, ...]:
    """Returns exporters as a tuple.

    Raises:
      ValueError: two have the same name, or one has none.
      TypeError: one of them is no exporter.
    """
    as_tuple: tuple[Exporter, ...] = ()
    if isinstance(exporters, Exporter):
        as_tuple = (exporters,)
    elif isinstance(exporters, Iterable):
        as_tuple = tuple(exporters)
    elif exporters is not None:
        raise TypeError(f"`exporters` must be a list of Exporter objects, got {exporters!r}")
    names = set()
    for exporter in as_tuple:
        if not isinstance(exporter, Exporter):
            raise TypeError(f"`exporters` must be a list of Exporter objects, got {exporter!r}")
        if not exporter.name or exporter.name in names:
            raise ValueError(f"`exporters` must have unique names, {exporter.name!r} is empty or appears twice")
        names.add(exporter.name)
    return as_tuple


def _read_result(path: str) -> dict[str, Any] | None:
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        return json.load(file)


def _write_result(path: str, result: Mapping[str, Any]) -> None:
    # Images of an evaluation, serialised, are not compared.
    numbers = {name: _as_json(value) for name, value in result.items() if not isinstance(value, bytes)}
    with tf.io.gfile.GFile(f"{path}.tmp", "w") as file:
        json.dump(numbers, file)
    tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)


def _as_json(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
