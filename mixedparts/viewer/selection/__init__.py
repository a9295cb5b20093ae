"""Choose rows of `pairs`: filters, search, counts, and reading what was found."""

from __future__ import annotations

from mixedparts.viewer.selection.query import Query
from mixedparts.viewer.selection.scan import Matches, find

__all__ = ["Matches", "Query", "find"]
