"""`mixedparts view --serve`: the page for a whole build, read row group by row group on demand."""

from __future__ import annotations
