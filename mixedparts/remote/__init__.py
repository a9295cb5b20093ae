"""Places that are no local folder: objects below an address such as `s3://bucket/folder`."""
