"""`TPUEstimator`: an Estimator whose batch is shared by replicas, on a TPU, on GPUs, or pretended on the CPU."""

import functools
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from trainer.engine.engine import Engine
from trainer.engine.spec import ModeKeys
from trainer.engine.tf_engine import TfEngine
from trainer.estimator import calls, engine_choice, parameters, tpu_config
from trainer.estimator.estimator import Estimator
from trainer.estimator.run_config import RunConfig
from trainer.estimator.tpu_config import InputPipelineConfig
from trainer.estimator.tpu_context import Deployment

_EVALUATION_PIPELINES = (
    InputPipelineConfig.PER_HOST_V1,
    InputPipelineConfig.PER_HOST_V2,
    InputPipelineConfig.BROADCAST,
    InputPipelineConfig.SLICED,
)


class TPUEstimator(Estimator):
    """Trains, evaluates and predicts with a model_fn that sees one replica's share of the batch.

    Args:
      model_fn: `model_fn(features, labels, mode, params, config)`; returns a `TPUEstimatorSpec`. `params` is a must.
        `params["batch_size"]` is the number of examples that it sees, `params["context"]` a `TPUContext`.
      model_dir: see `Estimator`.
      config: `trainer.estimator.RunConfig` (the one with `tpu_config`).
      params: without `batch_size` and `context`, which are added.
      use_tpu: False runs by TensorFlow on this machine, one replica, with the same model_fn.
      train_batch_size, eval_batch_size, predict_batch_size: examples per step over all replicas.
      batch_axis: for each flat tensor of the batch, the axis of its examples; None means 0 for all.
      eval_on_tpu: False evaluates and predicts on this machine's CPU.
      export_to_tpu, export_to_cpu: at least one must be true. SavedModels run anywhere; a separate graph for TPUs is
        not written.
      warm_start_from: see `Estimator`.
      embedding_config_spec: TPU embeddings, which are not supported.
      export_saved_model_api_version: 1 or 2, accepted.
      engine: ours: what runs the steps; None chooses by `use_tpu` and the config's `master`.
    """

    _injects_params = True

    def __init__(  # noqa: PLR0913, PLR0917 - the signature that programs rely on
        self,
        model_fn: Callable[..., Any] | None = None,
        model_dir: str | os.PathLike | None = None,
        config: RunConfig | None = None,
        params: Any = None,
        use_tpu: bool = True,
        train_batch_size: int | None = None,
        eval_batch_size: int | None = None,
        predict_batch_size: int | None = None,
        batch_axis: Sequence[int | None] | None = None,
        eval_on_tpu: bool = True,
        export_to_tpu: bool = True,
        export_to_cpu: bool = True,
        warm_start_from: Any = None,
        embedding_config_spec: Any = None,
        export_saved_model_api_version: Any = 1,
        engine: Engine | None = None,
    ):
        if config is not None and not isinstance(config, tpu_config.RunConfig):
            raise ValueError("`config` must be provided with type `tpu_config.RunConfig`: it has the tpu_config")
        parameters.check(params)
        self._global_batch_sizes = {
            ModeKeys.TRAIN: _batch_size("train_batch_size", train_batch_size),
            ModeKeys.EVAL: _batch_size("eval_batch_size", eval_batch_size),
            ModeKeys.PREDICT: _batch_size("predict_batch_size", predict_batch_size),
        }
        _check_export(export_to_cpu, export_to_tpu, export_saved_model_api_version)
        if embedding_config_spec is not None:
            raise ValueError("embedding_config_spec is not supported: use tf.nn.embedding_lookup in the model_fn")
        self._use_tpu = use_tpu
        self._eval_on_tpu = eval_on_tpu and use_tpu
        self._batch_axis = tuple(batch_axis) if batch_axis is not None else None
        self._given_engine = engine
        super().__init__(model_fn, model_dir, config, {} if params is None else params, warm_start_from)
        if "params" not in calls.argument_names(self._model.model_fn):
            raise ValueError(
                "model_fn does not include params argument, required by TPUEstimator to pass batch size as "
                "params['batch_size']"
            )

    def _default_config(self) -> RunConfig:
        return tpu_config.RunConfig()

    @functools.cached_property
    def _engine(self) -> Engine:
        if self._given_engine is not None:
            return self._given_engine
        return engine_choice.choose(self._use_tpu, self._config.master)

    @property
    def _tpu_config(self) -> tpu_config.TPUConfig:
        return cast(tpu_config.RunConfig, self._config).tpu_config

    def _deployment(self, mode: str) -> Deployment:
        runs_on_tpu = self._use_tpu if mode == ModeKeys.TRAIN else self._eval_on_tpu
        sizes: Mapping[str, int | None] = {mode: self._global_batch_sizes[mode]}
        if mode == ModeKeys.TRAIN and sizes[mode] is None:
            raise ValueError("`train_batch_size` cannot be `None` to train; pass train_batch_size=...")
        if not runs_on_tpu:
            return Deployment(TfEngine(), sizes)
        engine = self._engine
        num_hosts = engine.num_replicas // engine.num_local_replicas
        pipeline = self._input_pipeline(mode, engine.num_replicas, num_hosts)
        _check_num_shards(self._tpu_config.num_shards, engine.num_replicas)
        return Deployment(
            engine,
            sizes,
            input_pipelines={mode: pipeline},
            batch_axis=self._batch_axis if mode != ModeKeys.PREDICT else None,
            is_tpu=True,
            num_hosts=num_hosts,
            host=engine.process_index,
        )

    def _input_pipeline(self, mode: str, num_replicas: int, num_hosts: int) -> InputPipelineConfig:
        config = self._tpu_config
        pipeline = config.input_pipeline
        if mode == ModeKeys.TRAIN:
            return pipeline
        if mode == ModeKeys.EVAL and config.eval_training_input_configuration is InputPipelineConfig.SLICED:
            return InputPipelineConfig.SLICED
        # An input_fn per replica exists for training only.
        pipeline = InputPipelineConfig.PER_HOST_V1 if pipeline is InputPipelineConfig.PER_SHARD_V1 else pipeline
        if mode == ModeKeys.PREDICT and pipeline is InputPipelineConfig.PER_HOST_V2 and num_replicas > 1:
            return InputPipelineConfig.PER_HOST_V1
        return pipeline


def _batch_size(name: str, value: int | None) -> int | None:
    if value is None:
        return None
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def _check_export(export_to_cpu: bool, export_to_tpu: bool, api_version: Any) -> None:
    if not export_to_cpu and not export_to_tpu:
        raise ValueError("One of export_to_cpu and export_to_tpu must be true.")
    if getattr(api_version, "value", api_version) not in (1, 2):
        raise ValueError(f"export_saved_model_api_version should be 1 or 2; got {api_version!r}")


def _check_num_shards(num_shards: int | None, num_replicas: int) -> None:
    if num_shards is not None and num_shards != num_replicas:
        raise ValueError(
            f"TPUConfig.num_shards is not set correctly. According to the devices found it should be {num_replicas}, "
            f"got {num_shards}; leave it out"
        )
