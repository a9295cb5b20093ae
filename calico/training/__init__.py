"""Pretraining of encoders, the feature cache, and the training run."""
