"""The drawn curves of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from calico.training.curves import draw_curves
from mixedparts.progress import Silent


def test_steps_without_masks_have_no_place_on_a_log_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = [0.0, 0.0, 0.5, 0.25]
    lines = [
        {"stage": "train", "step": step, "total": 1.0 + mask, "mask": mask}
        for step, mask in enumerate(masks, 1)
    ]
    (tmp_path / "train.log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    draw_curves(tmp_path, Silent())
    ((panel,),) = [figure.axes for figure in drawn]
    found = {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}
    assert found["mask"] == [[3, 0.5], [4, 0.25]]
    assert found["total"] == [[step, 1.0 + mask] for step, mask in enumerate(masks, 1)]
