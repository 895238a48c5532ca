# The trainer, for a TPU, a GPU or a CPU:
#   docker build --file docker/trainer.Dockerfile --build-arg VARIANT=tpu --tag REGION-docker.pkg.dev/PROJECT/REPOSITORY/trainer-tpu:TAG .
ARG PYTHON_VERSION=3.11
FROM python:${PYTHON_VERSION}-slim

# An extra of setup.py: tpu, gpu or cpu.
ARG VARIANT=tpu

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    TF_CPP_MIN_LOG_LEVEL=2

WORKDIR /opt/tpu-images

# The lock without its hashes constrains what the variant needs to the versions that the tests ran with. Left out is libtpu:
# the lock has a newer one, as a compiler for preflight, than the runtime that this JAX was released with.
COPY requirements/requirements.lock requirements/requirements.lock
RUN sed -nE '/^libtpu==/d; s/^([a-zA-Z0-9][^\\]*[^ \\]) *\\?$/\1/p' requirements/requirements.lock > constraints.txt

COPY setup.py pyproject.toml README.md ./
COPY preprocessing preprocessing
COPY trainer trainer
RUN pip install --constraint constraints.txt ".[${VARIANT},gcp]"

# Nothing may be imported from the sources: what runs is what was installed.
WORKDIR /work

# CMD, not ENTRYPOINT: Vertex AI and the start-up script of a Cloud TPU bring a command of their own.
CMD ["python", "-m", "trainer.task", "--help"]
