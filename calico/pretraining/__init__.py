"""Pretraining of the encoders on single images, for models without published weights."""
