"""Tests of `mixedparts.settings`."""
