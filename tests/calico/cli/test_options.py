"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest

from calico.cli.evaluate import _parser as evaluation_parser
from calico.cli.options import feature_cache


def test_the_options_name_a_cache(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--predictions", "oracle", "--feature-cache", str(tmp_path / "c")]
    cache = feature_cache(evaluation_parser().parse_args([*given, "--feature-cache-gb", "0.5"]))
    assert cache is not None
    assert cache.limit == 500_000_000
    assert feature_cache(evaluation_parser().parse_args(given[:2])) is None
    for wrong in ("0", "-1", "nan", "many"):
        with pytest.raises(SystemExit) as ended:
            evaluation_parser().parse_args([*given, "--feature-cache-gb", wrong])
        assert ended.value.code == 2
    assert "gigabytes" in capsys.readouterr().err
