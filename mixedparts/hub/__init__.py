"""A build to a dataset hub."""
