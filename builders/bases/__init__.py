"""Base classes of the readers, and the records and descriptions that they read."""
