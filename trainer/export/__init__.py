"""From a trained model to a SavedModel over image files, and from its answers to tables."""
