"""Readers of native formats, one module a source: reading only, no pairing and no policy.

The sources are `paco`, `partimagenet`, `partinventory`, `ade20k`, `ade20k_full`, `pascal_part`, and
`coco_parts` for COCO-style files that a YAML describes. `bases` has what sources share: one JSON
file a split (`coco_source`, `coco_index`), one annotation file an image (`file_source`), the
PartImageNet family (`synsets`). `formats` has what files share: JSON records, ids, paths, masks.
`bundle_readers` and `bundle_records` read the bundle of the authors.
"""

from mixedparts._renamed import install as _install

_install()
