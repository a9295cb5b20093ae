"""What people read about a build or a source: statistics, plots, gallery."""
