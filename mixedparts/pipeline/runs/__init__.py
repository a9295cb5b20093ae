"""Runs of a build: their log, the stages they run, and what several runs of shares agree on."""
