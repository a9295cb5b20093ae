"""A model of micro size, and builds of coloured rectangles in the schema of the tables."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from calico.config.calico import CalicoConfig
from calico.config.presets import tiny
from calico.config.yaml_io import override
from calico.model.assembly import build_model
from calico.model.calico import Calico
from calico.model.vision import ImageFeatures
from calico.processing.tokenizer import build_tokenizer, token_ids
from mixedparts.masks import area, bbox, from_dense
from mixedparts.records import Task
from mixedparts.storage import schema
from mixedparts.text import answers as wording
from mixedparts.text.questions import QUESTIONS

_MICRO: dict[str, Any] = {
    "name": "micro",
    "vision": {"image_size": 32, "patch_size": 8, "hidden_size": 32, "layers": 1, "heads": 2},
    "semantic": {
        "image_size": 32,
        "position_size": 32,
        "patch_size": 8,
        "hidden_size": 16,
        "layers": 1,
        "heads": 2,
    },
    "qformer": {"hidden_size": 24, "layers": 1, "heads": 2, "mlp_size": 32, "queries": 3},
    "sam": {
        "image_size": 32,
        "patch_size": 8,
        "hidden_size": 32,
        "layers": 1,
        "heads": 2,
        "mlp_size": 32,
        "global_layers": [0],
        "prompt_size": 16,
        "decoder_heads": 2,
        "decoder_mlp_size": 32,
        "iou_head_size": 8,
    },
    "language": {"hidden_size": 32, "layers": 4, "heads": 2, "mlp_size": 48},
    "correspondence": {"heads": 2, "layers": [1, 3]},
    "training": {
        "steps": 8,
        "batch_size": 3,
        "save_every": 3,
        "warmup_steps": 2,
        "log_every": 2,
        "keep": 3,
        "task_weights": {},
    },
    "pretraining": {
        "steps": 2,
        "semantic_steps": 2,
        "mask_steps": 2,
        "batch_size": 2,
        "qformer_steps": 2,
        "qformer_batch_size": 2,
        "prompted_masks": 4,
        "warmup_steps": 1,
        "carry_over": False,
    },
    "generation": {"max_new_tokens": 12, "batch_size": 4},
}


def micro_config(**changes: Any) -> CalicoConfig:
    """Return a configuration of the smallest model; `changes` are nested overrides."""
    return override(override(tiny(), _MICRO, "micro"), changes, "test")


def micro_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows all wordings and the words of `write_build`."""
    texts = [text for texts in QUESTIONS.values() for text in texts]
    answers = [
        wording.common_object_answer("mug"),
        wording.part_answer(Task.COMMON_PARTS, ("mug", "kettle"), [("lid", (0, 1))]),
        wording.part_answer(Task.UNIQUE_PARTS, ("mug", "mug"), [("handle", (0,)), ("lid", (1,))]),
        "Two pictures are given: these are the Pictures: ANSWER:",
    ]
    return build_tokenizer([*texts, *answers], 2)


def micro_model(seed: int = 0, **changes: Any) -> tuple[Calico, CalicoConfig]:
    """Return a model with random weights everywhere, CAMs included, and its configuration."""
    tokenizer = micro_tokenizer()
    config = micro_config(**{"language": {"vocabulary": len(tokenizer)}, **changes})
    torch.manual_seed(seed)
    return build_model(config, token_ids(tokenizer, config.prompt.max_images)), config


def random_cams(model: Calico, seed: int = 1) -> None:
    """Give the CAMs weights that matter; they start at zero."""
    torch.manual_seed(seed)
    assert model.correspondence is not None
    for weight in model.correspondence.adaptive.parameters():
        torch.nn.init.normal_(weight, std=0.5)


def random_features(images: int, config: CalicoConfig, seed: int = 0) -> ImageFeatures:
    """Return features of that many images."""
    noise = torch.Generator().manual_seed(seed)
    grid = config.vision.image_size // config.vision.patch_size
    sam = config.sam.image_size // config.sam.patch_size
    return ImageFeatures(
        torch.randn(images, grid * grid + 1, config.vision.hidden_size, generator=noise),
        torch.randn(images, grid * grid, config.semantic.hidden_size, generator=noise),
        torch.randn(images, config.sam.prompt_size, sam, sam, generator=noise),
    )


def write_build(
    path: Path,
    images: int = 6,
    splits: tuple[str, ...] = ("train",),
    samples: int | None = None,
) -> Path:
    """Write the tables of a build: every image holds one object with two parts.

    Images are paired with their neighbours; the three tasks take turns. There are as many samples
    as images, unless told otherwise.
    """
    for split in splits:
        rng = np.random.default_rng(len(split))
        drawn = [_draw(rng, number) for number in range(images)]
        _write(path / "images", split, schema.IMAGES, [
            _image_row(split, row, pixels) for row, (pixels, _) in enumerate(drawn)
        ])  # fmt: skip
        numbers = range(images if samples is None else samples)
        rows = [_pair_row(split, number, drawn, number % images) for number in numbers]
        _write(path / "pairs", split, schema.PAIRS, rows)
    return path


def _write(folder: Path, split: str, kind: pa.Schema, rows: list[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=kind)
    pq.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=4)


def _draw(rng: np.random.Generator, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return pixels and the masks of a mug or a kettle with a lid and a handle."""
    height, width = 40 + 4 * (number % 3), 48
    pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    masks = {name: np.zeros((height, width), np.uint8) for name in ("object", "lid", "handle")}
    top, left = int(rng.integers(2, 8)), int(rng.integers(2, 10))
    masks["object"][top : top + 26, left : left + 30] = 1
    masks["lid"][top : top + 8, left : left + 22] = 1
    masks["handle"][top + 10 : top + 22, left + 22 : left + 30] = 1
    pixels[masks["object"] > 0] = (200, 60 + 80 * (number % 2), 40)
    pixels[masks["lid"] > 0] = (40, 200, 220)
    return pixels, masks


def _image_row(split: str, row: int, pixels: np.ndarray) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    return {
        "row": row,
        "image_id": f"{split}{row}",
        "image": {"bytes": data, "path": None},
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "sha256": hashlib.sha256(data).hexdigest(),
        "source": "paco",
        "split": split,
        "licence": "none",
    }


def _region(image: int, mask: np.ndarray, **names: str) -> dict[str, Any]:
    rle = from_dense(mask)
    coco = {"size": [rle.height, rle.width], "counts": rle.counts.decode()}
    return {"image": image, **names, "mask": coco, "bbox": list(bbox(rle)), "area": area(rle)}


def _pair_row(split: str, number: int, drawn: list[Any], first: int) -> dict[str, Any]:
    task = list(Task)[number % 3]
    rows = (first, (first + 1) % len(drawn))
    names = tuple("mug" if row % 2 else "kettle" for row in rows)
    if task is Task.COMMON_OBJECT:
        names = ("mug", "mug")
    objects = [
        _region(image, drawn[row][1]["object"], category=names[image])
        for image, row in enumerate(rows)
    ]
    parts: list[dict[str, Any]] = []
    answer = wording.common_object_answer("mug")
    if task is Task.COMMON_PARTS:
        parts = [
            _region(image, drawn[row][1]["lid"], name="lid", kind="common")
            for image, row in enumerate(rows)
        ]
        answer = wording.part_answer(task, names, [("lid", (0, 1))])
    elif task is Task.UNIQUE_PARTS:
        parts = [
            _region(0, drawn[rows[0]][1]["handle"], name="handle", kind="unique"),
            _region(1, drawn[rows[1]][1]["lid"], name="lid", kind="unique"),
        ]
        answer = wording.part_answer(task, names, [("handle", (0,)), ("lid", (1,))])
    refs = [
        {
            "image_id": f"{split}{row}",
            "row": row,
            "file_name": f"{row}.png",
            "width": drawn[row][0].shape[1],
            "height": drawn[row][0].shape[0],
        }
        for row in rows
    ]
    seg = [{"kind": "object", "index": 0}, {"kind": "object", "index": 1}]
    seg += [{"kind": "part", "index": index} for index in range(len(parts))]
    return {
        "id": f"{split}-{number}",
        "source": "paco",
        "split": split,
        "task": str(task),
        "images": refs,
        "objects": objects,
        "parts": parts,
        "question": wording.question(task, number),
        "answer": answer,
        "seg": seg,
    }


def mask_images(answers: Sequence[str], images: int = 2) -> torch.Tensor:
    """Return (M,) which image of a batch the tag of each [SEG] names; the first without a tag."""
    tags = [re.findall(r"\[SEG\](?: \(IMAGE(\d)\))?", answer) for answer in answers]
    rows = [row * images + int(tag or 1) - 1 for row, found in enumerate(tags) for tag in found]
    return torch.tensor(rows, dtype=torch.int64)
