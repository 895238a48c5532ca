"""Will my training run on that TPU, will it fit, what will it cost: `preflight(...)`, answered by the real compiler."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from trainer.engine import topology as tpu_topology
from trainer.errors import UserError
from trainer.preflight import batch_search, compiler, estimate, layer_names, prices
from trainer.preflight.training_step import TrainingStep

NUM_LARGEST_OPERATIONS = 10
_SECS_PER_HOUR = 3600


@dataclasses.dataclass(frozen=True)
class Workload:
    """A training: its step, the examples of a step over all replicas, and how many examples it sees in all."""

    name: str
    step: TrainingStep
    global_batch_size: int
    num_examples: int

    def __post_init__(self):
        if self.global_batch_size < 1 or self.num_examples < 0:
            raise UserError(
                "needs a batch of at least one example", where=f"global_batch_size={self.global_batch_size}"
            )


@dataclasses.dataclass(frozen=True)
class Memory:
    """HBM of one device, bytes. State is the variables; temporaries are activations and the compiler's scratch."""

    state_bytes: int
    batch_bytes: int
    temporary_bytes: int
    code_bytes: int
    available_bytes: int

    @property
    def needed_bytes(self) -> int:
        """Everything that the program holds at once."""
        return self.state_bytes + self.batch_bytes + self.temporary_bytes + self.code_bytes


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of the compiled program: what it moves through HBM in a step, and the layer it is of."""

    layer: str
    is_backward: bool
    op_name: str
    name: str
    hbm_bytes: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """The estimated training: hours from fast to slow, and US dollars of the chips (None without a price)."""

    hours: tuple[float, float]
    dollars: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class CompiledFigures:
    """What is known of a step that compiled; bytes and flops of one device and one step, rates of all devices."""

    memory: Memory
    flops: float
    hbm_traffic_bytes: int
    bound: str
    roofline_secs: float
    images_per_sec: tuple[float, float]
    cost: Cost
    largest_operations: tuple[Operation, ...]
    compile_secs: float
    is_from_cache: bool

    @property
    def flops_per_byte(self) -> float:
        """Arithmetic intensity."""
        return self.flops / self.hbm_traffic_bytes

    @property
    def is_rate_predictable(self) -> bool:
        """Whether the device decides how fast it goes, and not the host's part of a step, about a millisecond."""
        return self.roofline_secs >= 1e-3


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The answer for one topology: `figures`, or the `problem` that the compiler has with the step.

    `is_too_large` tells a problem with the memory from others.
    """

    topology: str
    num_chips: int
    num_devices: int
    per_replica_batch_size: int
    problem: str = ""
    is_too_large: bool = False
    figures: CompiledFigures | None = None
    largest_batch: batch_search.LargestBatch | None = None


@dataclasses.dataclass(frozen=True)
class Options:
    """How to answer.

    Fields:
      tpu_compiler: compiles and remembers.
      price_file: see `prices.read`.
      find_largest_batch: also search the largest batch per replica that fits (several compilations).
      progress: called about twice a second while compiling, with what is compiled and the elapsed seconds.
    """

    tpu_compiler: compiler.TpuCompiler = dataclasses.field(default_factory=compiler.TpuCompiler)
    price_file: str | None = None
    find_largest_batch: bool = False
    progress: Callable[[str, float], None] = lambda what, elapsed_secs: None


def preflight(workload: Workload, tpu_types: Sequence[str], options: Options | None = None) -> list[Verdict]:
    """Returns one verdict for each topology, in order. A topology that the step does not fit gets its verdict, too.

    Args:
      workload: the training.
      tpu_types: topologies such as `v5e:2x4`.
      options: see there.

    Raises:
      UserError: on an unknown topology, a batch that does not divide among the devices, or a model_fn with an
        operation that does not run on TPUs; tells the line.
    """
    options = options or Options()
    topologies = [tpu_topology.parse(name) for name in tpu_types]
    for topology in topologies:
        _per_replica_batch_size(workload, topology)
    price_table = prices.read(options.price_file)
    return [_Inquiry(workload, topology, options, price_table).verdict() for topology in topologies]


def _per_replica_batch_size(workload: Workload, topology: tpu_topology.Topology) -> int:
    size, remainder = divmod(workload.global_batch_size, topology.num_devices)
    if remainder or not size:
        raise UserError(
            f"a batch of {workload.global_batch_size} does not divide among {topology.num_devices} devices",
            where=topology.name,
            remedy=f"give --global_batch_size={max(1, size) * topology.num_devices}",
        )
    return size


@dataclasses.dataclass(frozen=True)
class _Inquiry:
    """One workload on one topology."""

    workload: Workload
    topology: tpu_topology.Topology
    options: Options
    price_table: Mapping[str, float]

    def verdict(self) -> Verdict:
        size = _per_replica_batch_size(self.workload, self.topology)
        known = functools.partial(Verdict, self.topology.name, self.topology.num_chips, self.topology.num_devices, size)
        step = self._lower(size)
        try:
            answer = known(figures=self._figures(step, self._compile(step, self.topology.name), size))
        except compiler.CompilerRefusalError as error:
            answer = known(problem=str(error), is_too_large=isinstance(error, compiler.DoesNotFitError))
        return dataclasses.replace(answer, largest_batch=self._largest_batch(step, size))

    def _lower(self, per_replica_batch_size: int) -> compiler.StepToCompile:
        return self.workload.step.lower(per_replica_batch_size, self.topology.num_devices)

    def _compile(self, step: compiler.StepToCompile, what: str) -> compiler.CompiledStep:
        report = functools.partial(self.options.progress, what)
        return dataclasses.replace(self.options.tpu_compiler, progress=report).compile(step, self.topology)

    def _largest_batch(self, step: compiler.StepToCompile, size: int) -> batch_search.LargestBatch | None:
        if not self.options.find_largest_batch:
            return None

        def needed_bytes(candidate: int) -> float | None:
            what = f"{self.topology.name}, {candidate} examples on each device"
            try:
                return self._compile(self._lower(candidate), what).hbm_peak_bytes
            except compiler.DoesNotFitError:
                return None

        available_bytes = self.topology.tpu_type.device_program_hbm_bytes
        return batch_search.find(needed_bytes, size, available_bytes, fixed_bytes=step.state_bytes)

    def _figures(
        self, step: compiler.StepToCompile, compiled: compiler.CompiledStep, per_replica_batch_size: int
    ) -> CompiledFigures:
        roofline = estimate.step_roofline(compiled, self.topology)
        rate = estimate.images_per_sec(roofline, per_replica_batch_size, self.topology.num_devices)
        return CompiledFigures(
            memory=self._memory(step, compiled),
            flops=compiled.figures.flops,
            hbm_traffic_bytes=compiled.hbm_traffic_bytes,
            bound=roofline.bound,
            roofline_secs=roofline.secs,
            images_per_sec=(rate.low, rate.high),
            cost=self._cost(rate),
            largest_operations=largest_operations(compiled, step.variable_names),
            compile_secs=compiled.figures.compile_secs,
            is_from_cache=compiled.is_from_cache,
        )

    def _memory(self, step: compiler.StepToCompile, compiled: compiler.CompiledStep) -> Memory:
        figures = compiled.figures
        return Memory(
            state_bytes=step.state_bytes,
            batch_bytes=figures.argument_bytes + figures.output_bytes - figures.alias_bytes - step.state_bytes,
            temporary_bytes=figures.temporary_bytes,
            code_bytes=figures.code_bytes,
            available_bytes=round(self.topology.tpu_type.device_program_hbm_bytes),
        )

    def _cost(self, rate: estimate.Rate) -> Cost:
        shortest, longest = (self.workload.num_examples / speed / _SECS_PER_HOUR for speed in (rate.high, rate.low))
        price = self.price_table.get(self.topology.tpu_type.name)
        if price is None:
            return Cost((shortest, longest), None)
        dollars_per_hour = price * self.topology.num_chips
        return Cost((shortest, longest), (shortest * dollars_per_hour, longest * dollars_per_hour))


def largest_operations(compiled: compiler.CompiledStep, variable_names: Sequence[str] = ()) -> tuple[Operation, ...]:
    """Returns the operations that move the most bytes through HBM, most first.

    What moves a variable alone (`state[3]`, for the compiler) bears the name of that one.
    """
    by_bytes = sorted(compiled.traffic, key=lambda item: -item.num_bytes)[:NUM_LARGEST_OPERATIONS]
    operations = []
    for item in by_bytes:
        op_name = layer_names.of_variable(item.op_name, variable_names)
        layer = layer_names.layer_of(op_name)
        operations.append(Operation(layer.name, layer.is_backward, op_name, item.name, item.num_bytes))
    return tuple(operations)
