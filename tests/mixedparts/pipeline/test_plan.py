"""Plans: what is reported of a source that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixedparts.errors import InputError
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.plan import make_plan
from mixedparts.sources.contract import available, get_source
from mixedparts.sources.manifests import manifest_of


@pytest.mark.parametrize("name", available())
def test_a_source_that_is_not_there_shows_its_tree_and_terms(name: str, tmp_path: Path) -> None:
    config = BuildConfig(sources=(name,), root=tmp_path, out=tmp_path / "out")
    with pytest.raises(InputError) as caught:
        make_plan(config)
    assert caught.value.exit_code == 3
    for line in get_source(name).layout(tmp_path).splitlines():
        assert line in caught.value.message
    known = manifest_of(name)
    if known is not None:
        assert known.licence in caught.value.message
        assert known.download in caught.value.message
    assert f"--source-root {name}=DIR" in caught.value.hint
