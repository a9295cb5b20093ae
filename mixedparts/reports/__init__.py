"""Reports on a build or a source for people: statistics, plots, source metadata."""
