#!/usr/bin/env bash
# `text.parse_math: False` of matplotlib writes the markup of its own tick labels on logarithmic axes.
#
# Expected: the setting is for texts of the user. Names of classes and files can have `$`, which is
# no formula, and one of them, such as `$x^{`, is an error that ends the drawing of the figure. With
# the setting such a name is plain text, and the numbers at the axes look as before.
#
# What happens: tick labels of a logarithmic axis are formulas that matplotlib writes itself
# (`$\mathdefault{10^{2}}$`), and the setting holds for them too: the axis shows this markup instead
# of 10 with a raised 2. So does the colour bar of a `LogNorm`. Nothing is printed. Linear axes are
# as before, unless `axes.formatter.use_mathtext` is set.
#
# Why it matters: the setting is the documented way to draw names from data safely, and a plot with
# a linear axis shows nothing of it. With it, every logarithmic axis needs a formatter of its own,
# such as `axes.xaxis.set_major_formatter("{x:,.0f}")`.
#
# Needs: bash, python3.11, pip. Prints version, behaviour and output; ends with 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'matplotlib==3.11.2'
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON' 2>/dev/null
import io
import re
import sys

import matplotlib
from matplotlib.figure import Figure


def texts(parse_math, scale, title):
    """What an SVG of a plot says: the texts as a browser shows them."""
    options = {"text.parse_math": parse_math, "svg.fonttype": "none"}
    with matplotlib.rc_context(options):
        figure = Figure()
        axes = figure.add_subplot(title=title)
        axes.plot([1, 1000], [1, 2])
        axes.set_xscale(scale)
        stream = io.StringIO()
        try:
            figure.savefig(stream, format="svg")
        except ValueError as error:
            return str(error).strip().splitlines()[-1]
    marks = re.findall(r"<text[^>]*>(.*?)</text>", stream.getvalue(), re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", " ", mark).split()) for mark in marks]


print(f"matplotlib {matplotlib.__version__}")
name = "$x^{ of a class$"
default = texts(True, "linear", name)
print(f"name with $, default: {default}")
plain = texts(False, "linear", name)
print(f"name with $, parse_math False, linear axis: {plain[:3]} … {plain[-1]}")
raised = [text.replace(" ", "") for text in texts(True, "log", "a name")][:-1]
print(f"log axis, default (powers are raised): {raised[:4]} …")
markup = [text for text in texts(False, "log", "a name") if "10" in text]
print(f"log axis, parse_math False: {markup}")
seen = (
    isinstance(default, str),
    plain[-1] == name and not any("math" in text for text in plain),
    any(text in ("102", "210") for text in raised) and "mathdefault" not in str(raised),
    all(text.startswith(r"$\mathdefault{10^{") for text in markup) and len(markup) > 2,
)
print("as described" if all(seen) else f"CHANGED: {seen}")
sys.exit(not all(seen))
PYTHON
