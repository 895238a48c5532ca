"""From a dataset directory to batches of images."""

from trainer.data.records import load

__all__ = ["load"]
