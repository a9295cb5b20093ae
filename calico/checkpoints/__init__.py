"""Checkpoints: saving, loading, rotation, digests, merging."""
