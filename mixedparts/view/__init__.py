"""Pictures of the dataset for people: overlays, the preview table, an HTML page."""
