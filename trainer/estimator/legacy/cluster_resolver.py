"""`TPUClusterResolver`: the name of the accelerator that a program was given, as our engines understand it."""

import os
import re
from typing import Any

import tensorflow as tf

from trainer.errors import UserError

_ENVIRONMENT_VARIABLE = "TPU_NAME"
_TARGET = re.compile(r"local|gpu|mock:[1-9]\d*|")


class TPUClusterResolver:
    """Stands for TensorFlow's resolver; the programs' `--tpu` is one of ours.

    Args:
      tpu: `local` (TPU chips of this machine), `gpu`, `mock:8` (eight virtual CPU devices), or empty for the TPU that
        is here. None takes the environment's TPU_NAME, as TensorFlow's resolver does.
      zone, project, job_name, coordinator_name, coordinator_address, credentials, service, discovery_url: accepted, of
        no effect: nothing is looked up in the cloud.

    Raises:
      UserError: `tpu` is the name or the address of a Cloud TPU. A program runs on the TPU's own machine nowadays.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the signature that programs rely on
        self,
        tpu: str | None = None,
        zone: str | None = None,
        project: str | None = None,
        job_name: str = "worker",
        coordinator_name: str | None = None,
        coordinator_address: str | None = None,
        credentials: Any = "default",
        service: Any = None,
        discovery_url: str | None = None,
    ):
        del zone, project, coordinator_name, coordinator_address, credentials, service, discovery_url
        given = os.environ.get(_ENVIRONMENT_VARIABLE, "") if tpu is None else _text(tpu)
        if not _TARGET.fullmatch(given):
            raise UserError(
                "no such accelerator on this machine",
                where=f"TPUClusterResolver(tpu={given!r})",
                remedy="write local on the TPU's own machine, mock:8 (eight virtual CPU devices), or nothing",
            )
        self._target = given
        self._job_name = job_name

    def master(self, *arguments: Any, **options: Any) -> str:
        """Returns the accelerator, as `RunConfig(master=...)` takes it."""
        del arguments, options
        return self._target

    def get_master(self) -> str:
        """Returns the same as `master()`."""
        return self._target

    def cluster_spec(self) -> tf.train.ClusterSpec:
        """Returns a cluster without tasks: there are no TensorFlow servers."""
        return tf.train.ClusterSpec({})

    def get_job_name(self) -> str:
        """Returns the name that the program gave."""
        return self._job_name


def _text(tpu: Any) -> str:
    # absl's list flags and TensorFlow's resolver allow a list of one address.
    return str(tpu[0]) if isinstance(tpu, (list, tuple)) and len(tpu) == 1 else str(tpu)
