"""The experiment's configuration: typed, closed, printed and saved.

Each section is a frozen dataclass whose fields are declared with `setting`; a field's name is also its command-line key
(`--base_learning_rate=0.1`), so names are unique across sections. Units and scope are part of the name.
"""

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from trainer.errors import UserError, nearest

CONFIG_FILE = "config.json"
_PRETENDED_REPLICAS = re.compile(r"mock:([1-9]\d*)")
_REAL_DEVICES = ("", "local", "gpu")


def setting(
    default: Any,
    doc: str,
    *,
    choices: tuple[Any, ...] = (),
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
    may_change: bool = False,
) -> Any:
    """Declares a configuration field.

    Args:
      default: the value when the user says nothing; its annotation gives the type.
      doc: one line for `--help`.
      choices: the closed list of values, if there is one.
      minimum: smallest number allowed (of each element, for tuples).
      maximum: largest number allowed.
      above: every number must be larger than this one.
      may_change: True when a model_dir may be continued with another value of it.
    """
    bounds = {"minimum": minimum, "maximum": maximum, "above": above}
    return dataclasses.field(
        default=default, metadata={"doc": doc, "choices": choices, **bounds, "may_change": may_change}
    )


@dataclasses.dataclass(frozen=True)
class _Section:
    """A group of settings that checks itself."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check_value(field, getattr(self, field.name))


@dataclasses.dataclass(frozen=True)
class ModelConfig(_Section):
    """The network. Fields that a family does not use must keep their defaults (the registry checks)."""

    network: str = setting("resnet50", "network, a row of the model table (tpu-images networks)")
    precision: str = setting("bfloat16", "type of activations", choices=("bfloat16", "float32"))
    width_multiplier: float = setting(1.0, "scales the number of filters", minimum=0.0625, maximum=16)
    preactivation: bool = setting(False, "ResNet v2 blocks (normalise and activate before each convolution)")
    resnet_d_stem: bool = setting(False, "three 3x3 convolutions in place of the 7x7 one (ResNet-D)")
    resnet_d_shortcut: bool = setting(False, "average-pool before the projection shortcut (ResNet-D)")
    space_to_depth_stem: bool = setting(
        False, "7x7/2 stem as 4x4/1 over 2x2 blocks of pixels: same result", may_change=True
    )
    se_ratio: float = setting(0.0, "squeeze-and-excitation bottleneck ratio, 0 for none", minimum=0, maximum=1)
    stochastic_depth_rate: float = setting(0.0, "drop rate of the last block (linear from 0)", minimum=0, maximum=0.95)
    dropblock_keep_prob: float = setting(1.0, "DropBlock keep probability, 1 for none", minimum=0.05, maximum=1)
    dropblock_size: int = setting(7, "DropBlock square size, in feature-map pixels", minimum=1)
    dropblock_groups: tuple[int, ...] = setting((3, 4), "block groups that DropBlock acts on, 1-based", minimum=1)
    dropout_rate: float = setting(0.0, "dropout before the classifier", minimum=0, maximum=0.95)
    zero_init_last_gamma: bool = setting(True, "start each residual block as the identity")
    batch_norm_momentum: float = setting(0.9, "decay of the moving statistics, per step", minimum=0, maximum=0.9999)
    batch_norm_epsilon: float = setting(1e-5, "added to the variance", minimum=0)
    batch_norm_group_size: int = setting(1, "replicas that share batch-norm statistics", minimum=1)
    batch_norm_from_inputs: bool = setting(
        True,
        "take the statistics of widening 1x1 convolutions from their inputs: same numbers, less memory traffic",
        may_change=True,
    )


@dataclasses.dataclass(frozen=True)
class InputConfig(_Section):
    """From records to batches."""

    image_size: int = setting(224, "height and width of the network's input, pixels", minimum=8, maximum=2048)
    train_split: str = setting("train", "split to train on")
    eval_split: str = setting("validation", "split to evaluate on during training")
    crop: str = setting(
        "random_resized",
        "training crop: Inception-style, zero-pad and shift, or the evaluation crop",
        choices=("random_resized", "pad", "center"),
    )
    crop_area_min: float = setting(0.08, "smallest share of the image in a crop", minimum=0.01, maximum=1)
    crop_aspect_ratio_max: float = setting(4 / 3, "widest aspect ratio of a random_resized crop", minimum=1, maximum=4)
    crop_padding: int = setting(4, "pixels of zero padding per side for the pad crop", minimum=0)
    eval_crop_fraction: float = setting(0.875, "central share of the short side that is kept", minimum=0.1, maximum=1)
    horizontal_flip: bool = setting(True, "mirror half of the training images")
    randaugment_num_layers: int = setting(0, "RandAugment operations per image, 0 for none", minimum=0, maximum=8)
    randaugment_magnitude: float = setting(10.0, "RandAugment strength, 0 to 30", minimum=0, maximum=30)
    shuffle_buffer_size: int = setting(16384, "records in the shuffle buffer", minimum=1)
    cache_records: bool = setting(False, "keep encoded records in host memory after the first epoch", may_change=True)
    verify_dataset: str = setting(
        "auto",
        "check of the shards before step 1: sizes, or full checksums (auto: checksums of local files)",
        choices=("auto", "size", "checksum"),
        may_change=True,
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(_Section):
    """The weight update."""

    optimizer: str = setting("sgd", "update rule", choices=("sgd", "lars", "adamw"))
    # May change, as a run whose loss was not finite is told to go on with a smaller one.
    base_learning_rate: float = setting(
        0.1, "learning rate per 256 examples of the global batch", minimum=0, may_change=True
    )
    momentum: float = setting(0.9, "momentum of sgd and lars", minimum=0, maximum=0.9999)
    nesterov: bool = setting(False, "Nesterov momentum (sgd and lars)")
    weight_decay: float = setting(1e-4, "decay of kernels; never of normalisation or biases", minimum=0)
    lars_trust_coefficient: float = setting(0.001, "LARS eta", minimum=0)
    adam_beta1: float = setting(0.9, "AdamW first-moment decay", minimum=0, maximum=0.9999)
    adam_beta2: float = setting(0.999, "AdamW second-moment decay", minimum=0, maximum=0.999999)
    adam_epsilon: float = setting(1e-8, "AdamW epsilon", minimum=0)
    gradient_clip_norm: float = setting(0.0, "largest global gradient norm, 0 for no limit", minimum=0)
    schedule: str = setting("cosine", "learning rate after warm-up", choices=("cosine", "stepwise", "constant"))
    warmup_epochs: float = setting(5.0, "linear warm-up from 0", minimum=0)
    decay_epochs: tuple[float, ...] = setting((30.0, 60.0, 80.0), "epochs at which stepwise decays", minimum=0)
    decay_factor: float = setting(0.1, "factor of each stepwise decay", minimum=0, maximum=1)
    ema_decay: float = setting(
        0.0, "moving average of weights, used to evaluate and export", minimum=0, maximum=0.99999
    )
    label_smoothing: float = setting(0.0, "share of each label spread over all classes", minimum=0, maximum=0.9)
    mixup_alpha: float = setting(0.0, "mixup Beta parameter, 0 for none", minimum=0)
    cutmix_alpha: float = setting(0.0, "cutmix Beta parameter, 0 for none", minimum=0)


@dataclasses.dataclass(frozen=True)
class LoopConfig(_Section):
    """How long, how often, and on what."""

    train_epochs: float = setting(90.0, "epochs to train for", above=0, may_change=True)
    global_batch_size: int = setting(256, "examples per training step, over all replicas", minimum=1)
    eval_global_batch_size: int = setting(256, "examples per evaluation step", minimum=1, may_change=True)
    epochs_per_eval: float = setting(1.0, "epochs between evaluations, 0 for the end only", minimum=0, may_change=True)
    top_k: int = setting(5, "k of the top-k accuracy; never above the class count", minimum=1, may_change=True)
    seed: int = setting(0, "seed of weights, data order, augmentation and dropout", minimum=0, maximum=2**31 - 1)
    engine: str = setting("auto", "what runs the step", choices=("auto", "tf", "pjrt"), may_change=True)
    tpu: str = setting("", "TPU to use: local, mock:8 (eight pretend replicas), or empty", may_change=True)
    iterations_per_loop: int = setting(50, "steps between looks of the host at the device", minimum=1, may_change=True)
    log_every_steps: int = setting(50, "steps between log lines and TensorBoard points", minimum=1, may_change=True)
    save_checkpoints_secs: int = setting(600, "seconds between checkpoints", minimum=1, may_change=True)
    keep_checkpoint_max: int = setting(3, "checkpoints to keep", minimum=1, may_change=True)

    def __post_init__(self):
        super().__post_init__()
        pretended = _PRETENDED_REPLICAS.fullmatch(self.tpu)
        if not pretended and self.tpu not in _REAL_DEVICES:
            remedy = "write local, mock:8 (eight virtual CPU devices), or nothing to take what is here"
            raise UserError("no such device", where=f"--tpu={self.tpu}", remedy=remedy)
        if pretended:
            for name in ("global_batch_size", "eval_global_batch_size"):
                _require_multiple(name, getattr(self, name), int(pretended[1]))


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides a run, apart from the data itself."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    optimization: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    loop: LoopConfig = dataclasses.field(default_factory=LoopConfig)

    def replace(self, **values: Any) -> "ExperimentConfig":
        """Returns a copy with these settings, each found in its section by name; UserError on an unknown name."""
        sections: dict[str, dict[str, Any]] = {section.name: {} for section in dataclasses.fields(self)}
        for name, value in values.items():
            sections[_section_of(name)][name] = value
        return ExperimentConfig(
            **{name: dataclasses.replace(getattr(self, name), **changed) for name, changed in sections.items()}
        )

    def flat(self) -> dict[str, Any]:
        """Returns every setting by name, in the order of declaration."""
        return {
            field.name: getattr(getattr(self, section.name), field.name)
            for section in dataclasses.fields(self)
            for field in dataclasses.fields(getattr(self, section.name))
        }

    def to_json(self) -> str:
        """Returns the text of `config.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> "ExperimentConfig":
        """Parses `config.json`; UserError names the file, and the key that is not one of ours."""
        try:
            sections = json.loads(text)
            values = {name: value for section in sections.values() for name, value in section.items()}
        except (ValueError, AttributeError) as error:
            raise UserError(f"not a configuration ({error})", where=where, remedy="use another model_dir") from error
        try:
            return cls().replace(**{name: _to_tuple(value) for name, value in values.items()})
        except UserError as error:
            raise UserError(str(error), where=where) from error


def _to_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def settings() -> Mapping[str, dataclasses.Field]:
    """Returns the declaration of every setting by its name."""
    return {
        field.name: field
        for section in dataclasses.fields(ExperimentConfig)
        for field in dataclasses.fields(typing.cast(type, section.type))
    }


def _section_of(name: str) -> str:
    for section in dataclasses.fields(ExperimentConfig):
        if any(field.name == name for field in dataclasses.fields(typing.cast(type, section.type))):
            return section.name
    raise unknown_key(name, settings())


def unknown_key(name: str, known: Iterable[str]) -> UserError:
    """Returns the error for a misspelt key, with the nearest known one."""
    remedy = nearest(f"--{name}", [f"--{key}" for key in known], "see --help for the settings")
    return UserError("unknown setting", where=f"--{name}", remedy=remedy)


def parse_overrides(arguments: Iterable[str]) -> dict[str, Any]:
    """Parses `--key=value` words (`--key` alone sets a boolean) into typed values.

    Raises:
      UserError: on an unknown key, a word of another form, or a value of another type.
    """
    declared = settings()
    values = {}
    for argument in arguments:
        name, separator, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            raise UserError("unexpected argument", where=argument, remedy="settings are written --key=value")
        if name not in declared:
            raise unknown_key(name, declared)
        values[name] = _parse_value(declared[name], text if separator else None)
    return values


def _parse_value(field: dataclasses.Field, text: str | None) -> Any:
    where = f"--{field.name}"
    if text is None:
        if field.type is bool:
            return True
        raise UserError("has no value", where=where, remedy=f"write {where}=...")
    try:
        return _PARSERS[field.type](text)
    except ValueError as error:
        expected = _type_name(field.type)
        raise UserError(f"{text!r} is not {expected}", where=where, remedy=field.metadata["doc"]) from error


def _parse_bool(text: str) -> bool:
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.lower() not in values:
        raise ValueError(text)
    return values[text.lower()]


def _parse_numbers(number_type: type) -> Any:
    return lambda text: tuple(number_type(part) for part in text.split(",") if part.strip())


_PARSERS: Mapping[Any, Any] = types.MappingProxyType(
    {
        str: str,
        int: int,
        float: float,
        bool: _parse_bool,
        tuple[int, ...]: _parse_numbers(int),
        tuple[float, ...]: _parse_numbers(float),
    }
)


def _type_name(annotation: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(annotation, "a comma-separated list of numbers")


_ACCEPTED_TYPES: Mapping[Any, tuple[type, ...]] = types.MappingProxyType(
    {float: (float, int), int: (int,), str: (str,), bool: (bool,)}
)


def _check_value(field: dataclasses.Field, value: Any) -> None:
    where = f"--{field.name}"
    _check_type(field, value, where)
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise UserError(f"{value!r} is not one of {', '.join(map(str, choices))}", where=where)
    numbers = value if isinstance(value, tuple) else (value,)
    for number in numbers:
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            _check_range(field, number, where)


def _check_type(field: dataclasses.Field, value: Any, where: str) -> None:
    accepted = _ACCEPTED_TYPES.get(field.type, (tuple,))
    if not isinstance(value, accepted) or (isinstance(value, bool) and field.type is not bool):
        raise UserError(f"{value!r} is not {_type_name(field.type)}", where=where, remedy=field.metadata["doc"])


def _check_range(field: dataclasses.Field, number: float, where: str) -> None:
    low, high, below = (field.metadata[name] for name in ("minimum", "maximum", "above"))
    if not math.isfinite(number) or not low <= number <= high or number <= below:
        bounds = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:.10g}"
        bounds = f"above {below:g}" if below > -math.inf else bounds
        raise UserError(f"{number:g} is out of range", where=where, remedy=f"give a value {bounds}")


def _require_multiple(name: str, batch_size: int, num_replicas: int) -> None:
    if batch_size % num_replicas:
        what = f"{batch_size} does not divide among {num_replicas} replicas"
        nearest_size = max(1, round(batch_size / num_replicas)) * num_replicas
        raise UserError(what, where=f"--{name}", remedy=f"give a multiple, such as {nearest_size}")


def changed_identity(saved: ExperimentConfig, wanted: ExperimentConfig) -> dict[str, tuple[Any, Any]]:
    """Returns the settings, with (saved, wanted) values, that a model_dir cannot be continued with."""
    before, after = saved.flat(), wanted.flat()
    return {
        name: (before[name], after[name])
        for name, field in settings().items()
        if before[name] != after[name] and not field.metadata["may_change"]
    }
