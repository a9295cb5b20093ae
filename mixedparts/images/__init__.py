"""The one door for image files: headers, EXIF orientation, checks."""
