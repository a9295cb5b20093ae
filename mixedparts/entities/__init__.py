"""Image records to entities: one object class in one image."""
