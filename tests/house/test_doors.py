"""Files and folders from outside have one door; what opens or lists others is named here."""

from __future__ import annotations

import re

import pytest

from tests.checkout import ROOT

PACKAGES = ("mixedparts", "builders", "calico")
LISTING = re.compile(r"\bos\.(walk|listdir|scandir)\(|\.(iterdir|r?glob)\(|^(import|from) glob\b")
READING = re.compile(
    r"\.read_text\(|json\.loads?\(.*(read_bytes|read_text)|yaml\.safe_load\(.*read"
)
# Each of these lists or reads what this program wrote or what is installed with it. A folder or
# file that a user prepares belongs to `mixedparts.files`, and so does JSON of this program, which
# can be damaged as well (`read_own_json`).
OWN_FOLDERS = {
    "mixedparts/hub/pixel_free_copy.py": "the copy that it has just made",
    "mixedparts/interchange/export/webdataset.py": "an example in the card of an export",
    "mixedparts/loading/load.py": "shards of a dataset on the Hub",
    "mixedparts/pipeline/finalize.py": "temporary files of the build",
    "mixedparts/pipeline/plan.py": "the code of this package",
    "mixedparts/sources/manifests.py": "manifests in the package",
    "mixedparts/storage/digest_cache.py": "its own cache",
    "mixedparts/synthetic/output.py": "images that an earlier run drew, in folders with its mark",
    "mixedparts/text/fonts.py": "the names of installed fonts, which the font library opens",
    "mixedparts/verification/files.py": "a build, whose manifest lists every file that must exist",
    "calico/cli/merge.py": "the folder that it has just written",
}
OWN_FILES: dict[str, str] = {"mixedparts/viewer/page/write.py": "style and script in the package"}


@pytest.mark.parametrize(
    ("pattern", "known"), [(LISTING, OWN_FOLDERS), (READING, OWN_FILES)], ids=["folders", "files"]
)
def test_only_own_files_and_folders_are_opened_elsewhere(
    pattern: re.Pattern[str], known: dict[str, str]
) -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if any(pattern.search(line) for line in path.read_text(encoding="utf-8").splitlines())
        and path.parent != ROOT / "mixedparts" / "files"
    }
    missing = found - known.keys()
    assert not missing, f"use mixedparts.files in {sorted(missing)}, or say here what they open"
    stale = known.keys() - found
    assert not stale, f"nothing is opened any more in {sorted(stale)}"
