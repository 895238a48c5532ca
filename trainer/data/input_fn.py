"""The input of the image classifier: records to batches of uint8 pixels; docs/architecture.md has the contract."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from trainer.config import ExperimentConfig
from trainer.data import augment, decode, random_seed, stream
from trainer.data.records import DatasetDirectory, RecordParser
from trainer.data.stream import HostShare
from trainer.data.verify import verify_split
from trainer.errors import UserError

# The values of `ModeKeys`, which belongs to a package that this one may not import.
_TRAIN, _EVAL, _PREDICT = "train", "eval", "infer"

InputFn = Callable[..., tf.data.Dataset]


def make_input_fn(dataset: DatasetDirectory, split: str, mode: str, config: ExperimentConfig) -> InputFn:
    """Verifies the split, and returns the `input_fn(params, input_context=None, start_step=0)` of one mode.

    The `tf.data.Dataset` that it makes holds batches of `params["batch_size"]` examples:

    - "train": endless `(features, labels)`, from the first batch of global step `start_step` on;
    - "eval": `(features, labels)` with every example once; what is missing in the last batch has weight 0;
    - "infer": `features`, with every example once, in order; the last batch holds what is left.

    `features["image"]` is uint8 `[batch, height, width, 3]`, `features["weight"]` ("eval") float32 `[batch]`, `labels`
    int32 `[batch]`. With several hosts, `input_context` (a `tf.distribute.InputContext`) says which one this is.

    Raises:
      UserError: when the split is unknown or empty, or one of its shards is missing or damaged.
    """
    make_batches = {_TRAIN: _training_batches, _EVAL: _evaluation_batches, _PREDICT: _prediction_batches}[mode]
    verify_split(dataset, split, config.input.verify_dataset)

    def input_fn(params: Mapping[str, Any], input_context: Any = None, start_step: int = 0) -> tf.data.Dataset:
        num_hosts = input_context.num_input_pipelines if input_context else 1
        host = input_context.input_pipeline_id if input_context else 0
        host_input = _HostInput(dataset, split, config, num_hosts, host)
        return make_batches(host_input, params["batch_size"], start_step).with_options(_options())

    return input_fn


def encoded_images(dataset: DatasetDirectory, split: str) -> tf.data.Dataset:
    """Returns the image files of a split as string scalars, in the order in which "infer" batches hold them."""
    shards = dataset.info.split(split, where=dataset.path).shards
    parse = RecordParser(dataset.info.label_offset, dataset.info.num_classes)
    records = stream.single_pass(dataset, stream.host_share(shards, num_hosts=1, host=0))
    return records.map(lambda numbered_record, shard: parse(numbered_record, shard)["encoded"])


@dataclasses.dataclass(frozen=True)
class _HostInput:
    """One host's part of a split, and how it is to be read."""

    dataset: DatasetDirectory
    split: str
    config: ExperimentConfig
    num_hosts: int
    host: int

    @property
    def shares(self) -> list[HostShare]:
        """The parts of all hosts."""
        shards = self.dataset.info.split(self.split, where=self.dataset.path).shards
        return [stream.host_share(shards, self.num_hosts, host) for host in range(self.num_hosts)]

    @property
    def share(self) -> HostShare:
        """This host's part."""
        return self.shares[self.host]

    @property
    def parser(self) -> RecordParser:
        """Parses a record of the dataset."""
        return RecordParser(self.dataset.info.label_offset, self.dataset.info.num_classes)


def _training_batches(host_input: _HostInput, batch_size: int, start_step: int) -> tf.data.Dataset:
    config, parse = host_input.config, host_input.parser
    if not host_input.share.num_examples:
        what = f"split {host_input.split!r} has no example for host {host_input.host} of {host_input.num_hosts}"
        raise UserError(what, where=host_input.dataset.path, remedy="train on fewer hosts")
    order = stream.EpochOrder(config.loop.seed, config.input.shuffle_buffer_size, config.input.cache_records)
    # Hosts count the examples of all hosts, so that no two draw the same random numbers.
    start = start_step * config.loop.global_batch_size // host_input.num_hosts
    first_position = start * host_input.num_hosts + host_input.host
    positions = tf.data.Dataset.range(first_position, tf.int64.max, host_input.num_hosts)

    def example(position, record_of_shard):
        parsed = parse(*record_of_shard)
        crop_seed = random_seed.position_seed(config.loop.seed, "crop", position)
        image = decode.training_image(parsed["encoded"], config.input, crop_seed)
        image = augment.augment(image, config.input, config.loop.seed, position)
        return {"image": image}, parsed["label"]

    records = stream.shuffled_epochs(host_input.dataset, host_input.share, order, start)
    examples = _parallel_map(tf.data.Dataset.zip(positions, records), example)
    return examples.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _evaluation_batches(host_input: _HostInput, batch_size: int, start_step: int) -> tf.data.Dataset:
    """Gives every host the same number of batches, or the hosts would wait for one another."""
    del start_step
    num_batches = max(-(-share.num_examples // batch_size) for share in host_input.shares)
    num_missing = num_batches * batch_size - host_input.share.num_examples
    size = host_input.config.input.image_size
    padding = ({"image": tf.zeros([size, size, 3], tf.uint8), "weight": 0.0}, tf.constant(0, tf.int32))

    def example(parsed, image):
        return {"image": image, "weight": 1.0}, parsed["label"]

    examples = _evaluation_examples(host_input, example)
    padded = examples.concatenate(tf.data.Dataset.from_tensors(padding).repeat(num_missing))
    return padded.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _prediction_batches(host_input: _HostInput, batch_size: int, start_step: int) -> tf.data.Dataset:
    del start_step
    examples = _evaluation_examples(host_input, lambda parsed, image: {"image": image})
    return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def _evaluation_examples(host_input: _HostInput, select: Callable[..., Any]) -> tf.data.Dataset:
    parse, config = host_input.parser, host_input.config.input

    def example(numbered_record, shard):
        parsed = parse(numbered_record, shard)
        return select(parsed, decode.evaluation_image(parsed["encoded"], config.image_size, config.eval_crop_fraction))

    return _parallel_map(stream.single_pass(host_input.dataset, host_input.share), example)


def _parallel_map(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    return dataset.map(function, num_parallel_calls=os.cpu_count(), deterministic=True)


def _options() -> tf.data.Options:
    """A thread pool of its own keeps decoding from waiting behind the operations of the training step."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = os.cpu_count()
    options.deterministic = True
    return options
