"""Predictions: values, JSON lines and files."""
