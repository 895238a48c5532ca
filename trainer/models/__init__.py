"""Networks, one table row each, and the one image model_fn."""
