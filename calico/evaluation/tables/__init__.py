"""Scores of every sample and region as two Parquet tables: writing, reading, comparing."""
