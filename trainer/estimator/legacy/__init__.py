"""Programs written for TensorFlow 1 and TPUEstimator, run unmodified: `tpu-images legacy SCRIPT.py -- FLAGS`."""
