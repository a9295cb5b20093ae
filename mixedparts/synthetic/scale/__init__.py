"""Annotation files with the numbers of the real datasets, for measurements at full scale.

Images, objects and parts are as many as in the real files, with random outlines of realistic sizes
and numbers of corners. The modules in the order in which a split passes through them:

1. `counts`: how many images, objects and parts each split has.
2. `plan`: which classes and how many parts each image gets, so that the totals are exact.
3. `outlines`: random polygons, many at once.
4. `pictures`: a few small pictures that all images of a size share, as links.
5. `layouts`, and one module a source: files and annotations of a block of images.
6. `make`: all blocks of all sources, in worker processes.
"""

from __future__ import annotations

from mixedparts.synthetic.scale.counts import PROFILES
from mixedparts.synthetic.scale.make import MOST_TIMES, Order, make_annotations

__all__ = ["MOST_TIMES", "PROFILES", "Order", "make_annotations"]
