"""Training samples read from a build: columns, images, views, sampling."""
