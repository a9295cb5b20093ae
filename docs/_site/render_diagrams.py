"""Draw the Mermaid diagrams of the documentation as SVG files, which the site shows.

A code host draws a Mermaid block itself. The site shows the committed SVG in its place, so that it
needs neither a script of 3.5 MB nor a request to another machine, and `make docs` needs no npm. Run
this after a change of a diagram; a test fails until then. It needs Chromium and Mermaid's script:

    npm pack mermaid@11 && tar xzf mermaid-11.*.tgz package/dist/mermaid.min.js
    .venv/bin/python docs/_site/render_diagrams.py package/dist/mermaid.min.js
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from diagrams import blocks, svg_path, with_source
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parents[1]
CHROMIUM = "/usr/bin/chromium"
# Colours are variables of the theme, so that a diagram follows the light and the dark palette. Text
# is measured in a wide font: another font of the reader's machine then still fits the boxes.
CONFIGURATION = """{
  startOnLoad: false, securityLevel: "strict", deterministicIds: true, theme: "base",
  fontFamily: "DejaVu Sans, Verdana, sans-serif", htmlLabels: false,
  flowchart: { htmlLabels: false, rankSpacing: 22, nodeSpacing: 30, wrappingWidth: 260 },
  themeVariables: { fontSize: "14px" },
}"""
STYLE = {
    ".node rect, .node path": "fill: var(--diagram-box); stroke: var(--diagram-line)",
    ".cluster rect": "fill: var(--diagram-group); stroke: var(--diagram-line)",
    "text, tspan, .nodeLabel, .edgeLabel": "fill: var(--diagram-text)",
    ".flowchart-link": "stroke: var(--diagram-arrow)",
    ".marker, .marker path": "fill: var(--diagram-arrow); stroke: var(--diagram-arrow)",
    ".edgeLabel rect, .labelBkg": "fill: var(--diagram-page); opacity: 1",
}


def main(script: Path) -> None:
    """Write an SVG for every Mermaid block of the pages.

    Args:
        script: Mermaid's `mermaid.min.js`.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.add_script_tag(path=script)
        page.evaluate(f"mermaid.initialize({CONFIGURATION})")
        for source in sorted(DOCS.glob("*.md")):
            for number, block in enumerate(blocks(source.read_text(encoding="utf-8")), 1):
                target = svg_path(source.stem, number)
                drawn = page.evaluate(
                    "([id, text]) => mermaid.render(id, text).then(result => result.svg)",
                    [target.stem, block],
                )
                target.write_text(with_source(coloured(drawn, target.stem), block), "utf-8")
                print(target)
        browser.close()


def coloured(svg: str, name: str) -> str:
    """Return an SVG with the colours of `STYLE` after those of Mermaid."""
    rules = "".join(
        f"{','.join(f'#{name} {part.strip()}' for part in selector.split(','))}"
        f"{{{style.replace(';', ' !important;')} !important}}"
        for selector, style in STYLE.items()
    )
    svg = svg.replace("</style>", f"{rules}</style>", 1)
    # At least two thirds of its size, so that its text can be read; the page scrolls the rest.
    width, height = re.findall(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"', svg)[0]
    # The figure around it has the label.
    for attribute in ("style", "role", "aria-roledescription"):
        svg = re.sub(rf'(<svg [^>]*?) {attribute}="[^"]*"', r"\1", svg, count=1)
    size = f'width="{width}" height="{height}" style="min-width: {0.68 * float(width):.0f}px"'
    return svg.replace('width="100%"', size, 1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
