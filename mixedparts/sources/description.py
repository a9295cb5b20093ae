"""The YAML of a source outside of this package: metadata, names and groups in one file."""

from __future__ import annotations

from mixedparts.sources.manifest_parsing import GROUPS, described_groups, read_manifest
from mixedparts.sources.manifest_types import Manifest
from mixedparts.sources.renames import check_names, renamed, renames_of
from mixedparts.sources.yaml_entries import load_yaml


def describe(text: str, file: str) -> Manifest:
    """Return the manifest in the YAML of one source.

    The format is that of a file in `manifests/`. It can also have `names` as in `names.yaml`, and
    `groups` and `alone` as in `groups.yaml`.

    Raises:
        InputError: the text is broken, with file and line.
    """
    # The order matters: groups refer to classes by the names that the renames give them.
    top = load_yaml(text, file)
    manifest = read_manifest(top, extra=("names", *GROUPS))
    if top.has("names"):
        names = check_names(top.at("names"), [manifest.source])
        manifest = renamed(manifest, renames_of(names, manifest))
    return described_groups(top, manifest)
