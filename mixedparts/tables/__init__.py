"""Entities and samples to the rows of each table of a build.

- `pairs` builds the rows of `pairs`, with the texts from `texts`.
- `images` and `entities` build the rows of the tables of the same names.
- `preview` builds the rows of `preview`, with the drawings from `overlay`.

Rows are made in Arrow batches, so that a table never has to fit into memory.
"""
