"""Readers of native formats, one module a source: reading only, no pairing and no policy.

`paco`, `partimagenet`, `partinventory` and `ade20k` are the sources; what they share: `coco_source`
(splits, shards, accounting), `coco_index` and `json_file` (large JSON files), `synsets` (the
PartImageNet family), `segmentation`, `maps`, `paths`, `identifiers`.
"""
