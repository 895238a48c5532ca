"""From what a program asks for to the engine that runs it."""

from trainer.engine.engine import Engine
from trainer.engine.tf_engine import TfEngine
from trainer.errors import UserError


def choose(use_tpu: bool, target: str) -> Engine:
    """Returns the engine for `use_tpu` and the accelerator that the RunConfig names.

    Args:
      use_tpu: False runs on this machine's CPU, or its one GPU, by TensorFlow.
      target: `local`, `gpu`, `mock:N`, or empty for the TPU that is here.

    Raises:
      UserError: there is no such accelerator.
    """
    if not use_tpu:
        return TfEngine()
    try:
        from trainer.engine import pjrt_devices, pjrt_engine  # noqa: PLC0415 - JAX is an extra that CPU users lack
    except ImportError as error:
        remedy = 'pip install "tpu-images[tpu]" (or [pjrt]), or use_tpu=False (--engine=tf)'
        raise UserError(f"the TPU engine needs JAX ({error})", where="TPUEstimator", remedy=remedy) from error
    if target:
        return pjrt_engine.PjrtEngine(pjrt_devices.select(target))
    found = pjrt_devices.available()
    if found is None:
        raise UserError(
            "Cannot find any TPU cores in the system",
            where="TPUEstimator(use_tpu=True)",
            remedy="use_tpu=False (--engine=tf) runs on the CPU; RunConfig(master='mock:8') (--tpu=mock:8) pretends to "
            "have eight replicas",
        )
    return pjrt_engine.PjrtEngine(found)
