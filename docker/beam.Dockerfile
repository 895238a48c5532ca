# What Dataflow's workers run for `tpu-images convert`. Python and Beam must be those of the machine that starts the job:
#   docker build --file docker/beam.Dockerfile --tag REGION-docker.pkg.dev/PROJECT/REPOSITORY/beam:TAG .
#   tpu-images convert ... --runner=DataflowRunner --sdk_container_image=REGION-docker.pkg.dev/PROJECT/REPOSITORY/beam:TAG
ARG PYTHON_VERSION=3.11
ARG BEAM_VERSION=2.77.0
FROM apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION}

# Otherwise each worker first makes an environment of its own.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /opt/tpu-images

# The lock without its hashes: the versions that the tests ran with.
COPY requirements/requirements.lock requirements/requirements.lock
RUN sed -nE 's/^([a-zA-Z0-9][^\\]*[^ \\]) *\\?$/\1/p' requirements/requirements.lock > constraints.txt

COPY setup.py pyproject.toml README.md ./
COPY preprocessing preprocessing
COPY trainer trainer
RUN pip install --constraint constraints.txt ".[gcp]"

WORKDIR /work

# The ENTRYPOINT of the base image, /opt/apache/beam/boot, is what Dataflow starts.
