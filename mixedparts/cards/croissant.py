"""Croissant metadata of a build: its files with digests, and its tables as record sets.

Format: Croissant 1.0 (JSON-LD, http://mlcommons.org/croissant/1.0). Each table is a record set.
The benchmark has a record set of its own, because its rows are copies of test rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixedparts.errors import InputError
from mixedparts.files.text import read_json
from mixedparts.records import BENCHMARK
from mixedparts.storage.build_folder import CROISSANT, shard_pattern
from mixedparts.storage.schema import CONFIGS, ENCODED_IMAGE

_PAPER = "https://arxiv.org/abs/2412.19331"
# The JSON-LD context that Croissant 1.0 prescribes.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
# Verification compares a build's metadata with these texts; a new text makes it report the builds
# of older versions.
_TEXTS = {
    "pairs": "One row a sample: images, regions, question, answer, and what each [SEG] means.",
    "images": "One row an image; pixels are stored once.",
    "entities": "One row an object class in an image, with the masks of its visible parts.",
    "preview": "Samples with their masks drawn in, for people.",
    BENCHMARK: "Rows of the test split, the same number from every filled source and task.",
}


def croissant(manifest: Mapping[str, Any], url: str = _PAPER) -> dict[str, Any]:
    """Return the Croissant metadata of a build as JSON values.

    Args:
        manifest: manifest of the build.
        url: page of the dataset; that of the paper for a build that is not on a Hub.
    """
    licences = [
        f"{source.get('title', name)}: {source.get('licence', 'unknown')};"
        f" images: {source.get('image_licence', 'unknown')}"
        for name, source in manifest["sources"].items()
    ]
    cited = [source["citation"] for source in manifest["sources"].values() if "citation" in source]
    made = " (synthetic)" if manifest["synthetic"] else ""
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "MixedParts",
        "description": f"Pairs of images for part-focused semantic co-segmentation{made}.",
        "url": url,
        "license": licences,
        "citeAs": "; ".join(["CALICO: Nguyen et al., CVPR 2025, arXiv 2412.19331", *cited]),
        "version": f"{manifest['schema_version']}.0.0",
        "identifier": manifest["build_id"],
        "keywords": ["part segmentation", "co-segmentation", *(["synthetic"] if made else [])],
        "distribution": [*_files(manifest), *_file_sets(manifest)],
        "recordSet": [_record_set(name) for name, _ in _tables(manifest)],
    }


def croissant_text(manifest: Mapping[str, Any], url: str = _PAPER) -> str:
    """Return the metadata as the text of `croissant.json`."""
    return json.dumps(croissant(manifest, url), indent=1, ensure_ascii=False) + "\n"


def croissant_problems(build: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each key of a build's metadata file that does not describe the build."""
    try:
        value = read_json(build / CROISSANT)
    except InputError as error:
        yield f"cannot be read: {error.message}"
        return
    # The URL is the only value that does not follow from the manifest: `push` sets it.
    if not isinstance(value, dict) or not isinstance(value.get("url"), str):
        yield "is not a JSON object with a 'url'"
        return
    wanted = croissant(manifest, value["url"])
    for key in wanted:
        if value.get(key) != wanted[key]:
            yield f"its '{key}' is not that of this build"


def _files(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a file object for every data file, `rejects.parquet` included."""
    for shard in manifest["shards"]:
        yield {
            "@type": "cr:FileObject",
            "@id": shard["path"],
            "name": shard["path"],
            "contentUrl": shard["path"],
            "contentSize": f"{shard['bytes']} B",
            "encodingFormat": "application/x-parquet",
            "sha256": shard["sha256"],
        }


def _tables(manifest: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield name and file patterns of every record set that has files."""
    patterns: dict[str, set[str]] = {}
    for shard in manifest["shards"]:
        table, _, file = shard["path"].partition("/")
        if table in CONFIGS:
            split = file.split("-")[0]
            name = BENCHMARK if split == BENCHMARK else table
            patterns.setdefault(name, set()).add(shard_pattern(table, split))
    # In a fixed order, whatever the order of the shards in the manifest.
    for name in (*CONFIGS, BENCHMARK):
        if name in patterns:
            yield name, sorted(patterns[name])


def _file_sets(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the file set that each record set is extracted from."""
    for name, patterns in _tables(manifest):
        yield {
            "@type": "cr:FileSet",
            "@id": f"{name}-files",
            "name": f"{name}-files",
            "encodingFormat": "application/x-parquet",
            "includes": patterns,
        }


def _record_set(name: str) -> dict[str, Any]:
    """Return the record set of a table or of the benchmark, with a field for each column."""
    schema = CONFIGS["pairs" if name == BENCHMARK else name]
    fields = [_field(name, column.name, column.name, [], column.type) for column in schema]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": _TEXTS[name],
        "field": fields,
    }


def _field(
    table: str, identity: str, column: str, path: list[str], kind: pa.DataType, inside: bool = False
) -> dict[str, Any]:
    """Return the field of a column, or of a value inside it.

    Args:
        table: name of the record set.
        identity: id of the field within the record set, unique.
        column: name of the Parquet column.
        path: names that lead from the column to the value.
        kind: Arrow type of the value.
        inside: whether an outer field is repeated; only the outermost one is marked so.

    Returns:
        The field as JSON values.
    """
    described: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{table}/{identity}",
        "name": identity,
    }
    source: dict[str, Any] = {
        "fileSet": {"@id": f"{table}-files"},
        "extract": {"column": column},
    }
    # An image is a struct of bytes and path; readers decode the bytes.
    if kind == ENCODED_IMAGE:
        source["transform"] = {"jsonPath": "bytes"}
        return {**described, "dataType": "sc:ImageObject", "source": source}
    if pa.types.is_list(kind):
        described |= {} if inside else {"repeated": True}
        inside, kind = True, kind.value_type
    if pa.types.is_struct(kind):
        described["subField"] = [
            _field(table, f"{identity}/{leaf}", column, [*path, leaf], leaf_kind, inside)
            for leaf, leaf_kind in _leaves(kind)
        ]
        return described
    if path:
        source["transform"] = {"jsonPath": ".".join(path)}
    return {**described, "dataType": _data_type(kind), "source": source}


def _leaves(kind: pa.StructType) -> Iterator[tuple[str, pa.DataType]]:
    """Yield the fields of a struct, those of an inner struct under a dotted name."""
    # Sub-fields are one level deep; the JSON path of a field leads into inner structs.
    for field in kind:
        if pa.types.is_struct(field.type):
            for name, inner in _leaves(field.type):
                yield f"{field.name}.{name}", inner
        else:
            yield field.name, field.type


def _data_type(kind: pa.DataType) -> str:
    """Return the schema.org type of a plain Arrow type; everything else is text."""
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"
