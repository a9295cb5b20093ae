"""Procedural sources: pictures with exact part masks, in the native formats of three datasets."""

from __future__ import annotations

from mixedparts.synthetic.make import MARKER, make_sources

__all__ = ["MARKER", "make_sources"]
