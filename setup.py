"""Packaging of tpu-images.

No TensorFlow distribution is a hard requirement: TensorFlow ships under several names (tensorflow, tensorflow-cpu,
vendor wheels), and asking for one of them in an image that carries another would overwrite it. Pick an extra instead.
"""

from setuptools import find_packages, setup

TENSORFLOW_VERSION = "2.21.*"
JAX_VERSION = "0.10.2"

# tf_keras asks for the distribution `tensorflow`: beside tensorflow-cpu it goes in with `pip install --no-deps`.
LEGACY_KERAS = f"tf_keras=={TENSORFLOW_VERSION}"
PJRT = [f"jax=={JAX_VERSION}"]
GCP = [
    "apache-beam[gcp]==2.77.*",
    "google-cloud-aiplatform>=1.165",
    "google-cloud-storage>=3.0",
    "google-cloud-tpu>=1.25",
]
# What tf.summary of TensorFlow 2 is made of, and what shows the events.
TENSORBOARD = f"tensorboard=={TENSORFLOW_VERSION}"
CPU = [f"tensorflow-cpu=={TENSORFLOW_VERSION}", TENSORBOARD]
PREFLIGHT = [*PJRT, "libtpu==0.0.52"]

setup(
    name="tpu-images",
    version="0.1.0",
    description="From a folder of labelled images to a trained, measured, exported classifier on TPU, GPU or laptop.",
    python_requires=">=3.11",
    packages=find_packages(include=["preprocessing", "preprocessing.*", "trainer", "trainer.*"]),
    package_data={
        "trainer": ["**/*.json", "**/*.toml", "**/*.sh"],
        "preprocessing": ["**/*.css", "**/*.js", "**/*.toml"],
    },
    install_requires=[
        "absl-py>=2.1",
        "apache-beam==2.77.*",
        "google-crc32c>=1.5",
        "numpy>=2.0",
        "pillow>=11",
    ],
    extras_require={
        "cpu": CPU,
        "gpu": [f"tensorflow=={TENSORFLOW_VERSION}", TENSORBOARD, LEGACY_KERAS, f"jax[cuda12]=={JAX_VERSION}"],
        "tpu": [*CPU, f"jax[tpu]=={JAX_VERSION}"],
        "pjrt": PJRT,
        "preflight": PREFLIGHT,
        "gcp": GCP,
        "test": [
            *CPU,
            *PREFLIGHT,
            *GCP,
            "build>=1.2",
            "gcp-storage-emulator>=2024.8.3",
            "mypy>=1.13",
            "pytest>=8.3",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.8",
            "scikit-learn>=1.5",
            "setuptools>=75",
            "wheel>=0.44",
        ],
    },
    entry_points={"console_scripts": ["tpu-images=trainer.task:main"]},
)
