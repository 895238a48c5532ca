"""`InMemoryEvaluatorHook`: evaluates in the middle of training, without a checkpoint."""

from collections.abc import Callable, Sequence
from typing import Any

from trainer.estimator.cadence import Cadence
from trainer.estimator.estimator import Estimator
from trainer.estimator.evaluation import Evaluation
from trainer.estimator.hooks import SessionRunHook


class InMemoryEvaluatorHook(SessionRunHook):
    """Evaluates before the first step, every so many steps, and after the last.

    The metrics go to the events of the evaluation. Moving averages that the model_fn's scaffold asks for are honoured.

    Args:
      estimator: the one that trains.
      input_fn: see `Estimator.evaluate`.
      steps: see `Estimator.evaluate`.
      hooks: see `Estimator.evaluate`.
      name: see `Estimator.evaluate`.
      every_n_iter: steps between evaluations.

    Raises:
      ValueError: `every_n_iter` is not positive, or TF_CONFIG has a cluster.
    """

    def __init__(
        self,
        estimator: Estimator,
        input_fn: Callable[..., Any],
        steps: int | None = None,
        hooks: Sequence[Any] | None = None,
        name: str | None = None,
        every_n_iter: int = 100,
    ):
        if every_n_iter is None or every_n_iter <= 0:
            raise ValueError(f"invalid every_n_iter={every_n_iter}: give the number of steps between evaluations")
        if estimator.config.num_ps_replicas > 0 or estimator.config.num_worker_replicas > 1:
            raise ValueError(
                "InMemoryEvaluator supports only single machine (aka Local) setting; use train_and_evaluate"
            )
        self._estimator = estimator
        self._evaluation = Evaluation(input_fn, steps, tuple(hooks or ()))
        self._name = name
        self._cadence = Cadence(every_n_iter, None, 0)
        self._num_steps = 0

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Evaluates the first values."""
        del coord
        self._evaluate(session)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Evaluates when it is time."""
        del run_values
        self._num_steps += 1
        if self._cadence.is_due(self._num_steps):
            self._evaluate(run_context.session)

    def end(self, session: Any) -> None:
        """Evaluates the last values."""
        self._evaluate(session)

    def _evaluate(self, session: Any) -> None:
        self._cadence.restart(self._num_steps)
        session.update_variables()
        self._estimator.evaluate_present(self._evaluation, self._name)
