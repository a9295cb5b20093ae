"""Devices, worker processes, and the log of a run."""
