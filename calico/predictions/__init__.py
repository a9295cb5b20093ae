"""Predictions as values, as JSON lines, and as files."""
