"""Training samples out of a build: columns, images, views, sampling."""
