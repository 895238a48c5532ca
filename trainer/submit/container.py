"""The container that trains: the user's image, or a public Python image that installs our package when it starts."""

import dataclasses
import pathlib
from collections.abc import Sequence

# The prebuilt training images of Vertex AI end at Python 3.10, which current TensorFlow and JAX no longer run on.
PYTHON_IMAGE = "docker.io/library/python:3.12-slim"


@dataclasses.dataclass(frozen=True)
class Container:
    """An image and what it runs: `program`, the text of a Python program, or the trainer where that is empty."""

    image: str
    arguments: tuple[str, ...]
    program: str = ""

    @property
    def command(self) -> tuple[str, ...]:
        """The words before the arguments."""
        return ("python", "-u", "-c", self.program) if self.program else ("python", "-m", "trainer.task")


def from_image(image: str, arguments: Sequence[str]) -> Container:
    """Returns the container of an image that has tpu-images installed (docker/trainer.Dockerfile)."""
    return Container(image, tuple(arguments))


def from_package(package_uri: str, extra: str, arguments: Sequence[str]) -> Container:
    """Returns the container that installs the package at `package_uri` with `extra` before it trains."""
    program = pathlib.Path(__file__).with_name("bootstrap.py").read_text(encoding="utf-8")
    return Container(PYTHON_IMAGE, (package_uri, f"{extra},gcp", *arguments), program)
