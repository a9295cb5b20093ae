"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from calico.cli.cost import main as cost
from calico.cli.evaluate import _parser as evaluation_parser
from calico.cli.evaluate import main as evaluate
from calico.cli.options import feature_cache
from calico.cli.predict import main as predict
from calico.cli.train import main as train
from mixedparts.errors import UsageError
from tests.factories.micro_model import micro_config


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


@pytest.mark.parametrize(
    ("command", "option", "most"),
    [
        (predict, "--threads", 1_024),
        (predict, "--batch-size", 2**31 - 1),
        (train, "--processes", 1_024),
        (train, "--threads", 1_024),
        (train, "--max-steps", 2**31 - 1),
        (cost, "--batch-size", 100_000),
        (cost, "--text", 100_000),
        (evaluate, "--bootstrap", 1_000_000),
        (evaluate, "--limit", 2**31 - 1),
    ],
)
def test_a_number_that_nothing_can_count_to(
    command: Callable[[list[str]], int],
    option: str,
    most: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for text in (str(most + 1), "9" * 30, "0" if option != "--bootstrap" else "-1"):
        with pytest.raises(SystemExit) as ended:
            command([option, text])
        assert ended.value.code == 2
        assert f"argument {option}: " in capsys.readouterr().err


def test_beams_have_a_limit() -> None:
    with pytest.raises(UsageError, match="num_beams"):
        micro_config(generation={"num_beams": 1_001})
    assert micro_config(generation={"num_beams": 1_000}).generation.num_beams == 1_000
