"""The page: its data, its HTML, style and script, and writing it as one file."""

from __future__ import annotations

from mixedparts.viewer.page.write import WrittenPage, write_page

__all__ = ["WrittenPage", "write_page"]
