"""Evaluation: ground truth, the five metrics and their variants, baselines and the report."""
