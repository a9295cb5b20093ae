"""Scores of every sample and every region as two Parquet tables: columns, writing, reading."""
