"""Layers, losses, optimizers and metrics: TensorFlow building blocks that know nothing of datasets or loops."""
