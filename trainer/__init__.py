"""Trains, measures and exports image classifiers through the Estimator interface."""
