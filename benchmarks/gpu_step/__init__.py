"""Our ResNet-50 training step beside flax's and torch.compile's, on one machine, in one run.

    python -m benchmarks.gpu_step.export DIRECTORY            # where the project is installed
    python -m benchmarks.gpu_step.measure DIRECTORY           # on any machine with JAX and a GPU

`export` writes the lowered step and the names and shapes of its variables, so that `measure` needs no TensorFlow. flax,
optax, torch and torchvision are measured where they are installed.
"""
