"""How all plots look, the fonts of their labels, and their files: PNG, SVG and PDF.

Plots are drawn with matplotlib (the extra `view`). Labels come from builds and from models, so they
can have any characters: `$` is no formula, and scripts that matplotlib's own font lacks come from
installed fonts. Text in SVG and PDF stays text, which a drawing program can edit.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixedparts.errors import EnvironmentFault, missing_package
from mixedparts.records import Task
from mixedparts.storage.shards import written_beside
from mixedparts.text.fonts import drawable, font_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One colour a task in all plots.
TASK_COLOURS = {
    Task.COMMON_OBJECT: "#2f6f8f",
    Task.COMMON_PARTS: "#d9822b",
    Task.UNIQUE_PARTS: "#6b9a4b",
}
INK, FAINT = "#222222", "#bbbbbb"
FORMATS = ("png", "svg", "pdf")
_DPI = 130
_OWN_FONT = "DejaVu Sans"  # comes with matplotlib
_LONGEST = 32  # characters of a label
# Neither the time nor matplotlib's version in the file: the same numbers give the same bytes.
_METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}


def load_matplotlib() -> Any:
    """Return the module `matplotlib.figure`.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    # Figures are made directly, without `pyplot`: that needs no display and keeps no global state.
    try:
        import matplotlib.figure
    except ImportError as error:
        raise missing_package(error, "drawing plots") or error from error
    return matplotlib.figure


@contextmanager
def plot_style() -> Iterator[None]:
    """Set fonts and file options of matplotlib inside the `with` block.

    Yields:
        None, once they are set.

    Raises:
        EnvironmentFault: matplotlib is not installed.
    """
    load_matplotlib()
    import matplotlib

    options: dict[Any, Any] = {
        "font.family": [_OWN_FONT, *_installed_fonts()],
        "text.parse_math": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "mixedparts",
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context(options):
        yield


@cache
def _installed_fonts() -> dict[str, str]:
    """Return family name to file of the installed fonts that matplotlib can draw with."""
    from matplotlib import font_manager, ft2font

    families: dict[str, str] = {}
    for path in font_files():
        # Fonts of coloured emoji are bitmaps, which matplotlib refuses; files may be damaged.
        try:
            family = str(ft2font.FT2Font(str(path)).family_name)
            font_manager.fontManager.addfont(str(path))
        except (NotImplementedError, RuntimeError, OSError):
            continue
        families.setdefault(family, str(path))
    return families


@lru_cache(maxsize=1 << 14)
def legible(text: str, longest: int | None = _LONGEST) -> str:
    """Return a label as plots write it: cut, and characters without a font as numbers.

    Args:
        text: one line.
        longest: most characters; None: all of them.
    """
    # matplotlib draws character by character, so that nothing joins them.
    text = drawable(text, joiners=False)
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    maps = _character_maps()
    return "".join(
        c if c.isprintable() and any(ord(c) in known for known in maps) else f"[U+{ord(c):04X}]"
        for c in text
    )


@cache
def _character_maps() -> list[dict[int, Any]]:
    from matplotlib import font_manager, ft2font

    own = font_manager.findfont(_OWN_FONT)
    paths = (own, *_installed_fonts().values())
    return [dict(ft2font.FT2Font(path).get_charmap()) for path in paths]


def new_figure(title: str, width: float, height: float) -> Figure:
    """Return an empty figure with a title.

    Args:
        title: in its upper left corner.
        width: in inches.
        height: in inches.

    Returns:
        The figure, without axes.
    """
    figure: Figure = load_matplotlib().Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left")
    return figure


def plain_axes(axes: Axes, title: str = "", grid: str = "y") -> None:
    """Style axes: a faint frame at the left and bottom only, grid lines along one direction.

    Args:
        axes: to style.
        title: above them.
        grid: `x`, `y`, or empty for no lines.
    """
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=8, length=3)
    if grid in ("x", "y"):
        axes.grid(axis=grid, color="#eeeeee", zorder=0)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, fontsize=9, color=INK, loc="left")


def save_figure(
    figure: Figure, folder: Path, name: str, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write a figure once in each format.

    Args:
        figure: drawn inside `plot_style`, as this call is.
        folder: is created if it does not exist.
        name: of the files, without suffix.
        formats: of `FORMATS`.

    Returns:
        The files.

    Raises:
        EnvironmentFault: a file cannot be written.
    """
    _lay_out(figure)
    written = []
    for kind in formats:
        path = folder / f"{name}.{kind}"
        try:
            with written_beside(path, flush=False) as temporary:
                figure.savefig(temporary, format=kind, dpi=_DPI, metadata=_METADATA[kind])
        except OSError as error:
            reason = error.strerror or error
            raise EnvironmentFault(f"{path} cannot be written: {reason}") from error
        written.append(path)
    return written


def svg_of(figure: Figure) -> bytes:
    """Return a figure as the bytes of an SVG file; call it inside `plot_style`."""
    _lay_out(figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata=_METADATA["svg"])
    return stream.getvalue()


def _lay_out(figure: Figure) -> None:
    """Fix the places of axes and texts, so that they do not depend on the formats before."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
