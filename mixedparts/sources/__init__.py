"""What a source reader promises, and what the manifests say about each source."""
