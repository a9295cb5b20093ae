"""Builds whose files go to object storage, by way of a local scratch folder."""
