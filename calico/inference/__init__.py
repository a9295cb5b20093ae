"""Inference: a trained model answers questions about images."""
