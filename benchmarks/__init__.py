"""Timed comparisons against a named peer, run by hand; results stand in docs/."""
