"""Entities and samples to the rows of each table."""
