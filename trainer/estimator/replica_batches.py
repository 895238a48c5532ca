"""Batches as the engine wants them: one global batch a step, replica after replica along axis 0."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from trainer.engine.spec import ModeKeys
from trainer.estimator.input_source import BatchStream
from trainer.estimator.tpu_config import InputPipelineConfig
from trainer.estimator.tpu_context import Deployment

# Modes in which one element of the input is one replica's share, not a whole host's.
_ELEMENT_PER_REPLICA = (InputPipelineConfig.PER_SHARD_V1, InputPipelineConfig.PER_HOST_V2)


@dataclasses.dataclass(frozen=True)
class ReplicaLayout:
    """How the elements that an input_fn yields become the batches of the replicas of this host.

    Fields:
      element_spec: nest of `TypeSpec`s of one element.
      deployment: where the steps run.
      mode: one of `ModeKeys`.
    """

    element_spec: Any
    deployment: Deployment
    mode: str

    @functools.cached_property
    def replica_spec(self) -> Any:
        """The specs of the batch that one replica sees.

        Raises:
          ValueError: a dimension is unknown that the engine must know, or not divisible among replicas.
        """
        if not self.deployment.is_tpu:
            return self.element_spec
        shares = [self._share(spec, axis) for spec, axis in self._with_axes(self._element_specs)]
        self._warn_of_another_size()
        return tf.nest.pack_sequence_as(self.element_spec, shares, expand_composites=True)

    def host_batches(self, streams: Sequence[BatchStream]) -> Iterator[list[tf.Tensor]]:
        """Returns the flat batches of this host, one a step, until a stream ends.

        Args:
          streams: one for each call of the input_fn.
        """
        elements = [map(_flat, stream.read()) for stream in streams]
        if not self._is_element_per_replica:
            return elements[0]
        one_after_another = itertools.chain.from_iterable(zip(*elements, strict=False))
        return map(_joined, _groups(one_after_another, self.deployment.num_local_replicas))

    def is_full(self, host_batch: Sequence[tf.Tensor]) -> bool:
        """Returns whether every replica gets a whole share of this batch."""
        if not self.deployment.is_tpu:
            return True
        return all(tensor.shape == shape for tensor, shape in zip(host_batch, self._full_host_shapes, strict=True))

    def divide(self, host_batch: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """Returns a full batch with the replicas' shares one after another on axis 0, as the engine takes it."""
        num_replicas = self.deployment.num_local_replicas
        if not self.deployment.is_tpu or self._is_element_per_replica or num_replicas == 1:
            return host_batch
        divided = []
        for tensor, axis in self._with_axes(host_batch):
            if axis is None and tensor.shape.rank:
                divided.append(tf.concat([tensor] * num_replicas, axis=0))
            else:
                divided.append(tf.concat(tf.split(tensor, num_replicas, axis), axis=0) if axis else tensor)
        return divided

    @property
    def elements_per_step(self) -> int:
        """Elements that a step takes on this host, of all streams together."""
        return self.deployment.num_local_replicas if self._is_element_per_replica else 1

    @property
    def full_num_rows(self) -> int:
        """Examples in a full batch of this host."""
        return self._full_host_shapes[0][0]

    @property
    def _is_element_per_replica(self) -> bool:
        return self.deployment.is_tpu and self.deployment.input_pipeline(self.mode) in _ELEMENT_PER_REPLICA

    @property
    def _element_specs(self) -> list[tf.TensorSpec]:
        return tf.nest.flatten(self.element_spec, expand_composites=True)

    @functools.cached_property
    def _full_host_shapes(self) -> list[list[int]]:
        shapes = [self._full_shape(spec, axis) for spec, axis in self._with_axes(self._element_specs)]
        if not self._is_element_per_replica:
            return shapes
        return [[shape[0] * self.deployment.num_local_replicas, *shape[1:]] if shape else shape for shape in shapes]

    def _with_axes(self, flat: Sequence[Any]) -> list[tuple[Any, int | None]]:
        """Pairs each tensor with the axis of its examples; None means that every replica gets all of it."""
        if self.deployment.is_broadcast(self.mode):
            return [(value, None) for value in flat]
        axes = self.deployment.batch_axis or (0,) * len(flat)
        if len(axes) != len(flat):
            raise ValueError(
                f"batch_axis has {len(axes)} entries but the input_fn returns {len(flat)} tensors; give one for each"
            )
        return [(value, axis if value.shape.rank != 0 else None) for value, axis in zip(flat, axes, strict=True)]

    def _share(self, spec: tf.TensorSpec, axis: int | None) -> tf.TensorSpec:
        if spec.dtype == tf.string:
            raise ValueError(
                f"the input_fn returns text ({spec}), which a TPU does not take; make numbers of it in the input_fn "
                f"(tf.lookup, tf.strings.to_hash_bucket_fast), or leave it out"
            )
        shape = self._full_shape(spec, axis)
        if axis is not None and not self._is_element_per_replica:
            num_replicas = self.deployment.num_local_replicas
            if shape[axis] % num_replicas:
                raise ValueError(
                    f"the input_fn's batch of {shape[axis]} cannot be divided among {num_replicas} replicas; "
                    f"make batches of params['batch_size'] examples"
                )
            shape[axis] //= num_replicas
        return tf.TensorSpec(shape, spec.dtype)

    def _warn_of_another_size(self) -> None:
        wanted = self.deployment.input_batch_size(self.mode)
        batched = [(spec, axis) for spec, axis in self._with_axes(self._element_specs) if axis is not None]
        # Transposed or flat images have other sizes there; the labels beside them tell.
        if batched and all(self._full_shape(spec, axis)[axis] != wanted for spec, axis in batched):
            logging.warning(
                "the input_fn's batches (%s) are not of the size that was asked for, params['batch_size'] = %d",
                batched[0][0],
                wanted,
            )

    def _full_shape(self, spec: tf.TensorSpec, axis: int | None) -> list[int]:
        """Returns the shape of an element; when not training the last one may be smaller, so the size is as asked."""
        shape: list[Any] = spec.shape.as_list() if spec.shape.rank is not None else [None]
        axis = 0 if axis is None and shape and self.deployment.is_broadcast(self.mode) else axis
        if axis is not None and self.mode != ModeKeys.TRAIN and shape[axis] is None:
            shape[axis] = self.deployment.input_batch_size(self.mode)
        if None in shape:
            raise ValueError(
                f"The features or labels to the model returned by input_fn must have static shape. Tensor: {spec}; "
                f"batch with drop_remainder=True, and give decoded images their shape (tf.ensure_shape)"
            )
        return shape


def pad(host_batch: Sequence[tf.Tensor], num_rows: int) -> list[tf.Tensor]:
    """Returns the batch with its last example repeated up to `num_rows` on axis 0."""
    return [
        tf.concat([tensor, tf.repeat(tensor[-1:], num_rows - tensor.shape[0], axis=0)], axis=0) for tensor in host_batch
    ]


def _flat(element: Any) -> list[tf.Tensor]:
    return tf.nest.flatten(element, expand_composites=True)


def _joined(elements: Sequence[list[tf.Tensor]]) -> list[tf.Tensor]:
    return [tf.concat(parts, axis=0) if parts[0].shape.rank else parts[0] for parts in zip(*elements, strict=True)]


def _groups(elements: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while group := list(itertools.islice(elements, size)):
        yield group
