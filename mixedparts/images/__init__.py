"""Image files as bytes: JPEG headers, EXIF orientation, checks."""
