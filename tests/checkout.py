"""Where the checkout lies, and the real samples that may lie beside it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REAL_SAMPLES = ROOT.parent / "shared" / "data"
