"""Entities to samples: which pairs are admissible, and which of them are drawn."""
