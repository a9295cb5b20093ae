"""Procedural sources: images with exact part masks, in the native formats of three datasets.

The modules in the order in which an image passes through them:

1. `vocabulary` names the classes of each source and the functions that draw them: `animals`,
   `furniture` and `vehicles`, which build drawings of `shapes`.
2. `scene` composes an image: objects, places, occlusion, clutter.
3. `raster` turns overlapping shapes into disjoint masks and exact polygons.
4. `painting` gives the shapes colours, patterns, light and noise.
5. `render` runs these steps for one image.
6. `native` and one `native_*` module a source write images and annotations.
7. `make` does this for all images and sources, in worker processes; `output` writes the files.

`scale` writes annotation files with the numbers of the real datasets instead, for measurements.
"""

from __future__ import annotations

from mixedparts.synthetic.make import make_sources
from mixedparts.synthetic.output import MARKER

__all__ = ["MARKER", "make_sources"]
