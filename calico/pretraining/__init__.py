"""Encoders of the tiny preset, pretrained on single images."""
