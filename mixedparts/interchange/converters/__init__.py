"""Rows of `pairs` as objects of other libraries, which are imported when they are used."""
