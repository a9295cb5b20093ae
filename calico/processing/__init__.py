"""Model inputs out of images and text, and answers out of model outputs."""
