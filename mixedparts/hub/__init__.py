"""Upload of a build to a dataset repository of a Hub."""
