"""A trained model answers questions about images."""
