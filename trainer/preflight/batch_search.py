"""The largest batch per replica that fits, found by compiling."""

import dataclasses
from collections.abc import Callable

# The TPU lays arrays out in tiles of 8 x 128: other batch sizes are padded.
BATCH_MULTIPLE = 8
_MAX_COMPILATIONS = 20
_MAX_PREDICTIONS = 3
# The search ends when it knows the answer to within a hundredth: another compilation would tell little.
_TOLERANCE = 0.01


@dataclasses.dataclass(frozen=True)
class LargestBatch:
    """`per_replica_batch_size` fits; the next multiple of 8, or 1 % more if that is further, does not.

    It is 0 when not even 8 fits.
    """

    per_replica_batch_size: int
    num_compilations: int


@dataclasses.dataclass
class _Bracket:
    """The largest size known to fit with the memory it takes, and the smallest known not to.

    `stride` is how far the search went beyond the last size where memory should have run out and did not.
    """

    fitting: int = 0
    fitting_bytes: float = 0.0
    failing: int | None = None
    num_fits: int = 0
    num_failures: int = 0
    stride: int = 0

    @property
    def is_closed(self) -> bool:
        return self.failing is not None and self.failing - self.fitting <= self._tolerance

    @property
    def _tolerance(self) -> int:
        return max(BATCH_MULTIPLE, int(self.fitting * _TOLERANCE) // BATCH_MULTIPLE * BATCH_MULTIPLE)

    def note(self, size: int, needed_bytes: float | None) -> None:
        if needed_bytes is None:
            self.failing, self.num_failures = size, self.num_failures + 1
        else:
            self.fitting, self.fitting_bytes, self.num_fits = size, needed_bytes, self.num_fits + 1

    def next_size(self, available_bytes: float, fixed_bytes: float) -> int:
        """Returns the size to try next: where memory would run out if it grew evenly with the batch.

        After a failure a little less; after several, half way between what fits and what does not. Close to the limit
        the compiler computes activations twice rather than keep them: where sizes fit that should not, strides double,
        or the way to a size that does not fit is halved.
        """
        fits_more = self.stride > 0 or self.num_fits > _MAX_PREDICTIONS
        if not self.fitting or self.num_failures > _MAX_PREDICTIONS or (self.failing and fits_more):
            return self._inside((self.fitting + (self.failing or 0)) // 2)
        bytes_per_example = (self.fitting_bytes - fixed_bytes) / self.fitting
        predicted = (available_bytes - fixed_bytes) / bytes_per_example
        size = self._inside(int(predicted * (1 - 2 * _TOLERANCE * self.num_failures)))
        if self.num_fits > 1 and not self.failing:
            at_least = max(2 * self.stride, self.fitting // 8) if self.stride else 0
            self.stride = max(size - self.fitting, at_least) // BATCH_MULTIPLE * BATCH_MULTIPLE
            return self.fitting + self.stride
        return size

    def _inside(self, size: int) -> int:
        size = size // BATCH_MULTIPLE * BATCH_MULTIPLE
        highest = self.failing - BATCH_MULTIPLE if self.failing else size
        return max(self.fitting + self._tolerance, min(size, highest))


def find(
    needed_bytes: Callable[[int], float | None], first_size: int, available_bytes: float, fixed_bytes: float
) -> LargestBatch:
    """Returns the largest batch per replica that fits, among multiples of 8.

    Args:
      needed_bytes: compiles the step for a batch size; returns the memory it needs, None when it does not fit.
      first_size: where to start.
      available_bytes: memory that a program may take.
      fixed_bytes: what does not grow with the batch: state and code.
    """
    bracket = _Bracket()
    size = max(BATCH_MULTIPLE, first_size // BATCH_MULTIPLE * BATCH_MULTIPLE)
    for num_compilations in range(1, _MAX_COMPILATIONS + 1):
        bracket.note(size, needed_bytes(size))
        if bracket.is_closed:
            return LargestBatch(bracket.fitting, num_compilations)
        size = bracket.next_size(available_bytes, fixed_bytes)
    raise RuntimeError(f"no answer after {_MAX_COMPILATIONS} compilations: {bracket}")
