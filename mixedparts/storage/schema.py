"""Column types of the tables, and the metadata that `datasets` needs to read them.

The tables are plain Parquet. The only metadata beside the types names the columns of encoded
images. The YAML of the dataset card is made from the same schemas, so that both always agree.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

# Must change with every change of a column's name, type or meaning. It is part of the build id, and
# readers refuse a build of any other version.
SCHEMA_VERSION = 2

_SIZE = pa.field("size", pa.list_(pa.int32()))
_MASK = pa.field("mask", pa.struct([_SIZE, pa.field("counts", pa.string())]))
_BBOX = pa.field("bbox", pa.list_(pa.float32()))
_AREA = pa.field("area", pa.int64())

IMAGE_REF = pa.struct(
    [
        ("image_id", pa.string()),
        ("row", pa.int32()),
        ("file_name", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)
OBJECT = pa.struct([("image", pa.int8()), ("category", pa.string()), _MASK, _BBOX, _AREA])
PART = pa.struct(
    [("image", pa.int8()), ("name", pa.string()), ("kind", pa.string()), _MASK, _BBOX, _AREA]
)
SEG = pa.struct([("kind", pa.string()), ("index", pa.int32())])
# The layout in which `datasets` stores images: encoded bytes, or else a path.
ENCODED_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

PAIRS = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("task", pa.string()),
        ("images", pa.list_(IMAGE_REF)),
        ("objects", pa.list_(OBJECT)),
        ("parts", pa.list_(PART)),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("seg", pa.list_(SEG)),
    ]
)
IMAGES = pa.schema(
    [
        ("row", pa.int32()),
        ("image_id", pa.string()),
        ("image", ENCODED_IMAGE),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("licence", pa.string()),
    ]
)
PREVIEW = pa.schema(
    [("id", pa.string()), ("task", pa.string()), ("picture", ENCODED_IMAGE), ("text", pa.string())]
)
REJECTS = pa.schema(
    [(name, pa.string()) for name in ("source", "split", "file", "record_id", "level")]
    + [("reason", pa.string()), ("detail", pa.string())]
)
ENTITY_REGION = pa.struct([("name", pa.string()), _MASK, _BBOX, _AREA])
ENTITY_TABLE = pa.schema(
    [
        ("source", pa.string()),
        ("split", pa.string()),
        ("image_id", pa.string()),
        ("row", pa.int32()),  # in the images table; null where no sample uses the image
        ("file_name", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("category", pa.string()),
        _MASK,
        _BBOX,
        _AREA,
        ("parts_known", pa.bool_()),
        ("parts", pa.list_(ENTITY_REGION)),
    ]
)
CONFIGS = {"pairs": PAIRS, "images": IMAGES, "entities": ENTITY_TABLE, "preview": PREVIEW}

# The working format between reading and pairing: one row an entity (one object class in one image).
# Masks and part lists have 64-bit offsets: those of a whole split are one array, whose bytes can be
# more than 32 bits address.
ENTITY_PART = pa.struct(
    [("name", pa.string()), ("counts", pa.large_string()), ("bbox", _BBOX.type), _AREA]
)
ENTITIES = pa.schema(
    [
        ("source", pa.string()),
        ("image_id", pa.string()),
        ("file_name", pa.string()),
        ("path", pa.string()),
        ("file_bytes", pa.int64()),  # size of the image file when it was read
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("category", pa.string()),
        ("counts", pa.large_string()),
        ("bbox", _BBOX.type),
        ("area", pa.int64()),
        ("parts_known", pa.bool_()),
        ("parts", pa.large_list(ENTITY_PART)),
    ]
)


def with_image_hint(schema: pa.Schema) -> pa.Schema:
    """Return the schema with the metadata that makes `datasets` decode its encoded images."""
    # `datasets` infers the features of all other columns from their types.
    images = {field.name: {"_type": "Image"} for field in schema if field.type == ENCODED_IMAGE}
    info = {"info": {"features": images}}
    return schema.with_metadata({"huggingface": json.dumps(info)}) if images else schema


def card_features(schema: pa.Schema) -> list[dict[str, Any]]:
    """Return the `features` list of a dataset card for a schema."""
    return [_card_feature(field.name, field.type) for field in schema]


def _card_feature(name: str, kind: pa.DataType) -> dict[str, Any]:
    """Return one entry of `features`: a name with a dtype, a list or a struct."""
    if kind == ENCODED_IMAGE:
        return {"name": name, "dtype": "image"}
    if pa.types.is_list(kind):
        inner = kind.value_type
        if pa.types.is_struct(inner):
            return {"name": name, "list": [_card_feature(f.name, f.type) for f in inner]}
        return {"name": name, "list": _card_dtype(inner)}
    if pa.types.is_struct(kind):
        return {"name": name, "struct": [_card_feature(f.name, f.type) for f in kind]}
    return {"name": name, "dtype": _card_dtype(kind)}


def _card_dtype(kind: pa.DataType) -> str:
    """Return the name that `datasets` has for a simple type; only that of float32 differs."""
    return {"float": "float32"}.get(str(kind), str(kind))
