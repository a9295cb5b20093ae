"""Image files: the one door that opens them, their formats, headers, orientation and checks."""
