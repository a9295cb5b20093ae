"""Exchange with other formats: export of a build, and import of the authors' bundle.

`to_supervision` and `to_fiftyone` hand rows to these libraries in memory.
"""

from __future__ import annotations

from mixedparts.interchange.converters.fiftyone_dataset import to_fiftyone
from mixedparts.interchange.converters.regions import class_names
from mixedparts.interchange.converters.supervision_detections import to_supervision

__all__ = ["class_names", "to_fiftyone", "to_supervision"]
