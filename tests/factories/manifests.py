"""Small manifests as text."""

from __future__ import annotations

HEAD = """\
source: zoo
title: Zoo
version: v1
homepage: https://example.org
download: https://example.org/files
licence: none
image_licence: none
citation: nobody
files:
  - {name: zoo.zip, sha256: abc, evidence: documented}
counts:
  train: {images: 3, evidence: unverified}
"""
LISTED = (
    HEAD
    + """\
objects:
  - {key: owl, id: 7, parts: {Beek: 1, left_wing: 2}}
  - {key: barn_owl, id: 8, parts: {tail: 3}}
  - {key: bat, id: 9, parts: {left_wing: 4}}
  - {key: stone, id: 4, parts: {}}
"""
)
GROUPED = (
    HEAD
    + """\
superclasses:
  Bird:
    parts: {Beek: 0, Side Wing: 1}
    classes: [n2 barn owl, n1 eagle owl, n3 hen]
"""
)
