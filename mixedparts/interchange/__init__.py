"""Exchange with other formats: export of a build, and import of the authors' bundle."""
