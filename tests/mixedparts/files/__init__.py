"""Tests of `mixedparts.files`."""
