"""Readers of native formats, one module a source: reading only, no pairing and no policy.

The sources are `paco`, `partimagenet`, `partinventory`, `ade20k`, `ade20k_full`, `pascal_part`,
and `coco_parts` for what a YAML describes (`coco_description`). They share `coco_source` (splits,
shards and accounting of one JSON file a split), `coco_index` and `json_file` (large JSON files),
`file_source` and `file_listing` (one annotation file an image), `synsets` (the PartImageNet
family), `division`, `segmentation`, `maps`, `paths`, `identifiers`.
"""
