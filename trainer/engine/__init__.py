"""From a model_fn to one step program, and the engines that run it."""
