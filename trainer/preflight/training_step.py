"""The training step of a model_fn, lowered for any batch size and number of replicas."""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from trainer import replica
from trainer.engine import pjrt_engine, pjrt_step
from trainer.engine.engine import Engine
from trainer.engine.spec import ModeKeys
from trainer.errors import UserError
from trainer.estimator import calls, model_programs, parameters
from trainer.estimator.tpu_context import Deployment
from trainer.preflight import valueless_variables
from trainer.preflight.compiler import StepToCompile


@dataclasses.dataclass(frozen=True)
class TrainingStep:
    """What is asked about.

    Fields:
      model_fn: as given to `TPUEstimator`.
      features, labels: nests of `tf.TensorSpec`s; a None on axis 0 stands for the batch of one replica. Labels may be
        None.
      params: as given to `TPUEstimator`; `batch_size` and `context` are added.
    """

    model_fn: Callable[..., Any]
    features: Any
    labels: Any = None
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def lower(self, per_replica_batch_size: int, num_replicas: int) -> StepToCompile:
        """Returns the step of one of `num_replicas` replicas.

        Raises:
          UserError: when an operation of it does not run on TPUs; tells its line. When this machine's memory does not
            hold what the model_fn computes while it is traced.
        """
        global_batch_size = per_replica_batch_size * num_replicas
        engine = typing.cast(Engine, _TracingEngine(num_replicas))  # steps are traced for it, never loaded
        deployment = Deployment(engine, global_batch_sizes={ModeKeys.TRAIN: global_batch_size}, is_tpu=True)
        batch = self.features if self.labels is None else (self.features, self.labels)
        batch_spec = tf.nest.map_structure(lambda spec: _with_batch_size(spec, per_replica_batch_size), batch)
        try:
            program = model_programs.ModelPrograms(self._call).trace(ModeKeys.TRAIN, batch_spec, deployment)
        except tf.errors.ResourceExhaustedError as error:
            what = f"this machine's memory does not hold what the model_fn makes: {_first_line(error)}"
            remedy = "give large variables an initializer, which is not run, or ask on a machine with more memory"
            raise UserError(what, remedy=remedy) from error
        interface = pjrt_step.StepInterface(len(program.batch_specs), program.is_per_replica)
        names = tuple(variable.name.partition(":")[0] for variable in program.variables)
        try:
            return StepToCompile(pjrt_engine.lower(program), interface, num_replicas, names)
        finally:
            program.dismantle()

    def _call(self, features: Any, labels: Any, mode: str, deployment: Deployment) -> Any:
        params = parameters.injected(
            self.params,
            batch_size=deployment.model_batch_size(mode),
            use_tpu=True,
            context=deployment.model_context(mode),
        )
        with valueless_variables.creating():
            return calls.model_fn(self.model_fn, features, labels, mode, params=params)


@dataclasses.dataclass(frozen=True)
class _TracingEngine:
    """Replicas that are compiled for, not run."""

    num_replicas: int
    process_index: int = 0
    needs_static_shapes: bool = True

    @property
    def num_local_replicas(self) -> int:
        return self.num_replicas

    def replica_context(self) -> replica.ReplicaContext:
        return pjrt_engine.replica_context(self.num_replicas)


def _first_line(error: tf.errors.OpError) -> str:
    return error.message.partition("\n")[0].partition("}} ")[2] or error.message


def _with_batch_size(spec: tf.TensorSpec, batch_size: int) -> tf.TensorSpec:
    shape = spec.shape.as_list()
    return tf.TensorSpec([batch_size, *shape[1:]] if shape and shape[0] is None else shape, spec.dtype)
