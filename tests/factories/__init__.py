"""What tests read, written small: native sources, builds, bundles, models and their weights."""
