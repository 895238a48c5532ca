"""Exports: a trained model's prediction as a SavedModel, or as a function in this process.

Both have variables of their own: training may go on meanwhile.
"""

import dataclasses
import functools
import posixpath
import time
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.engine.engine import Executable
from trainer.engine.spec import ModeKeys, TPUEstimatorSpec
from trainer.engine.step_program import StepProgram, StepResult, StepTrace
from trainer.engine.tf_engine import TfEngine
from trainer.estimator import evaluation_metrics, export_outputs, graph_writer, model_steps
from trainer.estimator.directory_rename import rename_directory
from trainer.estimator.export_outputs import InputReceiver
from trainer.estimator.graph_writer import CutGraph, Signature
from trainer.estimator.model import Model
from trainer.estimator.tpu_context import Deployment

# Training first: it makes the most variables, and its names for them hold.
_MODES = (ModeKeys.TRAIN, ModeKeys.EVAL, ModeKeys.PREDICT)
# Those of TensorFlow 1's Estimator.
_TAGS = types.MappingProxyType({ModeKeys.TRAIN: "train", ModeKeys.EVAL: "eval", ModeKeys.PREDICT: "serve"})


class Predictor(tf.Module):
    """The predictions of a trained model as a function of features, on this machine, for use inside other functions.

    Called with features (a tensor or a nest of tensors), eagerly or inside a `tf.function`; returns the predictions of
    the spec. Its variables are tracked, so that it can be part of a SavedModel.
    """

    def __init__(self, model: Model, checkpoint_path: str):
        super().__init__(name="predictor")
        self._model = model.isolated()
        self._checkpoint_path = checkpoint_path
        self.model_variables: list[tf.Variable] = []

    def __call__(self, features: Any) -> Any:
        """Returns the predictions for a batch of features."""
        program = self._loaded(tf.nest.map_structure(tf.type_spec_from_value, features)).program
        outputs = program.concrete_function(*tf.nest.flatten(features, expand_composites=True))
        return program.pack_outputs(outputs)["per_replica"]["predictions"]

    def _loaded(self, feature_spec: Any) -> Executable:
        with tf.init_scope():
            programs = self._model.programs
            executable = programs.executable(ModeKeys.PREDICT, feature_spec, Deployment(TfEngine()))
            with self._model.holding(self._checkpoint_path, executable.program):
                self.model_variables = list(executable.program.variables)
        return executable


def export_saved_model(
    model: Model,
    export_dir_base: str,
    input_receiver_fns: Mapping[str, Callable[[], InputReceiver]],
    checkpoint_path: str,
    assets_extra: Mapping[str, str] | None = None,
    *,
    as_text: bool = False,
) -> str:
    """Writes `<export_dir_base>/<seconds since 1970>`, complete or not at all; returns its path.

    Args:
      model: what to export.
      export_dir_base: the directory of all exports.
      input_receiver_fns: by mode, what makes the placeholders that callers feed, and the features (and labels) made
        of them.
      checkpoint_path: the weights.
      assets_extra: by path below `assets.extra`, files to copy.
      as_text: whether the graph is written as text.

    Raises:
      ValueError: there is no mode, one that does not exist, or one without an input_receiver_fn.
    """
    if not input_receiver_fns or not set(input_receiver_fns) <= set(_MODES):
        raise ValueError(f"give an input_receiver_fn for modes among {_MODES}, got {list(input_receiver_fns)}")
    if None in input_receiver_fns.values():
        raise ValueError("An input_receiver_fn must be defined: it returns a ServingInputReceiver")
    isolated = model.isolated()
    programs = {
        mode: _program(isolated, mode, input_receiver_fns[mode]) for mode in _MODES if mode in input_receiver_fns
    }
    with isolated.holding(checkpoint_path, *programs.values()):
        export_dir = _new_export_dir(export_dir_base)
        temporary_dir = posixpath.join(export_dir_base, f"temp-{posixpath.basename(export_dir)}")
        variables = list(
            {id(variable): variable for program in programs.values() for variable in program.variables}.values()
        )
        graphs = {_TAGS[mode]: _cut(program) for mode, program in programs.items()}
        graph_writer.write(temporary_dir, graphs, variables, as_text=as_text)
    _copy_assets(temporary_dir, assets_extra or {})
    rename_directory(temporary_dir, export_dir)
    logging.info("exported %s to %s", checkpoint_path, export_dir)
    return export_dir


def _program(model: Model, mode: str, input_receiver_fn: Callable[[], InputReceiver]) -> StepProgram:
    """Traces receiver and model; the outputs are those of each signature, the payload is the receiver's."""

    def step(batch: Any) -> StepResult:
        del batch
        receiver = input_receiver_fn()
        labels = getattr(receiver, "labels", None)
        spec = model.call_model_fn(receiver.features, labels, mode, Deployment(TfEngine()))
        is_for_replicas = isinstance(spec, TPUEstimatorSpec) and mode != ModeKeys.PREDICT
        plain = spec.as_estimator_spec() if is_for_replicas else spec
        outputs, methods, targets = _signatures(plain, mode)
        metric_variables = evaluation_metrics.keras_variables(getattr(plain, "eval_metric_ops", None))
        return StepResult(
            per_replica=outputs,
            feeds=tf.nest.flatten(receiver.receiver_tensors, expand_composites=True),
            targets=targets,
            payload=ReceiverPayload(receiver, methods, model_steps.scaffold_maker(spec), metric_variables),
        )

    program = model.programs.trace_step(step, (), Deployment(TfEngine()))
    model.programs.store.mark_local(program.payload.metric_variables)
    return program


def _signatures(spec: Any, mode: str) -> tuple[Mapping[str, Mapping[str, tf.Tensor]], Mapping[str, str], Sequence[Any]]:
    """Returns the outputs of each signature, the method of each, and what must run beside."""
    if mode == ModeKeys.PREDICT:
        named = export_outputs.by_signature(spec.export_outputs, spec.predictions)
        outputs = {name: output.signature_outputs() for name, output in named.items()}
        return outputs, {name: output.method for name, output in named.items()}, ()
    outputs = {mode: export_outputs.supervised(spec.loss, spec.predictions, spec.eval_metric_ops)}
    is_training = mode == ModeKeys.TRAIN
    targets = (spec.train_op,) if is_training else evaluation_metrics.trace(spec.eval_metric_ops).updates
    return outputs, {mode: export_outputs.SUPERVISED_METHODS[mode]}, targets


@dataclasses.dataclass(frozen=True)
class ReceiverPayload:
    """What a trace for an export leaves in Python; `methods` has each signature's."""

    receiver: InputReceiver
    methods: Mapping[str, str]
    make_scaffold: Callable[[], Any] | None
    metric_variables: Sequence[tf.Variable]


def _cut(program: StepProgram) -> CutGraph:
    """Cuts out what the signatures of a program need: one for each output, and for each alternative way to feed it."""
    receiver, methods, trace = program.payload.receiver, program.payload.methods, program.trace
    alternatives = getattr(receiver, "receiver_tensors_alternatives", None) or {}
    inputs = {"": dict(receiver.receiver_tensors), **{f"{name}:": tensors for name, tensors in alternatives.items()}}
    outputs = _outputs(trace)
    targets = [target if isinstance(target, tf.Operation) else target.op for target in trace.result.targets]
    given = tf.nest.flatten(inputs[""], expand_composites=True)
    # What has a default value keeps it: whoever feeds it feeds a tensor inside the graph.
    fed = [tensor for tensor in given if tensor.op.type != "PlaceholderWithDefault"]
    instead = tf.nest.flatten(dict(alternatives), expand_composites=True)
    feeds = [*fed, *(tensor for tensor in instead if tensor.op.type == "Placeholder" and not _is_in(tensor, fed))]
    initializers = trace.table_initializers()
    assets = trace.graph.get_collection(tf.compat.v1.GraphKeys.ASSET_FILEPATHS)
    externals = {id(internal): external for external, internal in trace.graph.captures}
    return CutGraph(
        trace.function(feeds, [outputs, given, instead, assets], [*targets, *initializers]),
        feeds,
        {
            f"{prefix}{name}": Signature(*export_outputs.call_form(methods[name], tensors), each, targets)
            for prefix, tensors in inputs.items()
            for name, each in outputs.items()
        },
        initializers,
        [externals.get(id(asset), asset) for asset in assets],
    )


def _outputs(trace: StepTrace) -> dict[str, dict[str, Any]]:
    """Returns the outputs of each signature, made by operations of the trace."""
    own = functools.partial(_in_trace, trace.graph)
    with trace.graph.as_default():  # To put a ragged tensor together takes operations.
        return {
            name: tf.nest.map_structure(own, dict(each), expand_composites=True)
            for name, each in trace.result.per_replica.items()
        }


def _in_trace(graph: Any, tensor: Any) -> tf.Tensor:
    """Returns a tensor as one that an operation of the trace makes: what it closed over is none."""
    is_made = tf.is_tensor(tensor) and not isinstance(tensor, tf.Variable) and tf.is_symbolic_tensor(tensor)
    if is_made and not _is_in(tensor, graph.internal_captures):
        return tensor
    with graph.as_default():
        return tf.identity(tensor)


def _is_in(tensor: tf.Tensor, others: Iterable[tf.Tensor]) -> bool:
    return any(tensor is other for other in others)


def _new_export_dir(export_dir_base: str) -> str:
    """Returns a directory named by the time, which is not there yet."""
    while True:
        export_dir = posixpath.join(export_dir_base, str(int(time.time())))
        if not tf.io.gfile.exists(export_dir):
            return export_dir
        time.sleep(0.1)


def _copy_assets(export_dir: str, assets_extra: Mapping[str, str]) -> None:
    for relative_path, source in assets_extra.items():
        destination = posixpath.join(export_dir, "assets.extra", relative_path)
        tf.io.gfile.makedirs(posixpath.dirname(destination))
        tf.io.gfile.copy(source, destination)
