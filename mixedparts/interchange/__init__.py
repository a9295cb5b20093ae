"""Other formats of a build: export, and import of the authors' bundle."""
