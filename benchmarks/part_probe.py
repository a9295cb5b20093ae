"""Where a trained CALICO loses what it needs for comparing images: a linear probe of its states.

For each stage of `benchmarks.probe_states` a linear layer is trained, on frozen states of the train
split, to say which parts each image shows. It then reads the triangles of `benchmarks.other_image`
from sources of another seed. Two figures follow:

    AUC: chance that a part which is there scores above the same part of the same class where it is
        not; the mean over all parts that are there in some of the images and not in others.
    choice: the answer to a question about unique parts that follows from the scores (parts above
        one half in this image and below it in the other one), marked as the answers of the model.

A folder of pretrained encoders has the first stages only; its image tokens are projected at random.

    python -m benchmarks.part_probe --checkpoint pretrained=runs/a/encoders \\
        --checkpoint before=runs/a --checkpoint after=runs/b \\
        --dataset data/mixedparts --test-dataset data/other-seed --write docs/comparing.md
"""

from __future__ import annotations

import argparse
import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.oracle_features import PairDraw
from benchmarks.other_image import Asked, Shown, draw_triangles, fitting, questions, shown_images
from benchmarks.other_image_marks import overlap
from benchmarks.probe_states import (
    BY_IMAGE,
    BY_PAIR,
    ImageReader,
    Probed,
    image_states,
    pair_states,
)
from benchmarks.report import machine, write_section
from calico.dataset.pairs import BuiltDataset
from calico.runtime.device import prepare_process
from mixedparts.exit_codes import run_command
from mixedparts.progress import terminal_progress
from mixedparts.records import Task

_STEPS, _BATCH, _RATE, _DECAY = 600, 256, 3e-3, 1e-2


@dataclass(frozen=True, slots=True)
class Labels:
    """The (class, part) labels that a probe tells apart.

    Attributes:
        numbers: label -> its column.
    """

    numbers: Mapping[tuple[str, str], int]

    @classmethod
    def of(cls, images: Sequence[Shown]) -> Labels:
        """Number the labels of some images."""
        listed = {(one.classes[0], part) for one in images for part in one.parts[0] or ()}
        return cls({label: number for number, label in enumerate(sorted(listed))})

    def targets(self, images: Sequence[Shown]) -> Tensor:
        """Return (N, labels) int8: 1 visible, 0 not, -1 a part of another class."""
        found = torch.full((len(images), len(self.numbers)), -1, dtype=torch.int8)
        for row, image in enumerate(images):
            for (name, part), column in self.numbers.items():
                if name == image.classes[0]:
                    found[row, column] = int(part in (image.parts[0] or ()))
        return found


class Probe(nn.Module):
    """A linear layer for each token, and the largest of its logits over the tokens.

    Args:
        tokens: of an image; up to 16 have weights of their own and are read together.
        width: of a token.
        labels: number of labels.
    """

    def __init__(self, tokens: int, width: int, labels: int) -> None:
        super().__init__()
        self.together = tokens <= 16
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.read = nn.Linear(width * (tokens if self.together else 1), labels)

    def forward(self, states: Tensor) -> Tensor:
        """Return logits (N, labels) of states (N, tokens, width)."""
        normed = self.norm(states)
        if self.together:
            logits: Tensor = self.read(normed.flatten(1))
            return logits
        # A part is somewhere: the smooth maximum over the patches, as in multiple instance
        # learning.
        # Less a constant, so that the first logits are those of one patch.
        return torch.logsumexp(self.read(normed), 1) - math.log(states.shape[1])


def train_probe(states: Tensor, targets: Tensor, seed: int) -> Probe:
    """Train a probe.

    Args:
        states: (N, tokens, width).
        targets: (N, labels) int8 as `Labels.targets`.
        seed: of weights and batches.
    """
    torch.manual_seed(seed)
    probe = Probe(states.shape[1], states.shape[2], targets.shape[1])
    optimizer = torch.optim.AdamW(probe.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        rows = torch.randint(len(states), (_BATCH,))
        target = targets[rows]
        weight = (target >= 0).float()
        logits = probe(states[rows].float())
        loss = F.binary_cross_entropy_with_logits(
            logits, target.clamp_min(0).float(), weight, reduction="sum"
        )
        optimizer.zero_grad()
        (loss / weight.sum()).backward()
        optimizer.step()
        schedule.step()
    return probe.eval()


@torch.inference_mode()
def scores(probe: Probe, states: Tensor, size: int = 512) -> NDArray[np.float64]:
    """Return the logits (N, labels) of a probe."""
    parts = [probe(states[at : at + size].float()) for at in range(0, len(states), size)]
    return torch.cat(parts).double().numpy()


def mean_auc(logits: NDArray[np.float64], targets: NDArray[np.int8]) -> float:
    """Return the mean AUC over the labels that have both values; (N, labels) each."""
    found = []
    for column in range(targets.shape[1]):
        there, absent = (logits[targets[:, column] == value, column] for value in (1, 0))
        if len(there) and len(absent):
            wins = stats.mannwhitneyu(there, absent).statistic
            found.append(wins / (len(there) * len(absent)))
    return float(np.mean(found))


def choice(asked: Sequence[Asked], logits: NDArray[np.float64], labels: Labels) -> float:
    """Return the share of right choices that follow from the scores of both images.

    Args:
        asked: Q questions about unique parts.
        logits: (Q, 2, labels).
        labels: of the columns.
    """
    right = 0.0
    for one, of_images in zip(asked, logits, strict=True):
        name = one.images[0].classes[0]
        shown = [
            {
                part
                for (owner, part), at in labels.numbers.items()
                if owner == name and logit[at] > 0
            }
            for logit in of_images
        ]
        for image in range(2):
            said = frozenset(shown[image] - shown[1 - image])
            own = overlap(said, one.answers[image])
            rival = max(overlap(said, names) for names in one.rivals[image])
            right += 0.5 if own == rival else float(own > rival)
    return right / (2 * len(asked))


def probe_all(
    probed: Probed,
    train: tuple[BuiltDataset, Sequence[Asked]],
    test: tuple[BuiltDataset, Sequence[Asked]],
    seed: int,
) -> dict[str, tuple[float, float]]:
    """Return AUC and choice of every stage.

    Args:
        probed: the model.
        train: a build and questions about unique parts of its train split.
        test: another build and its questions.
        seed: of the probes.
    """
    every = [image for _, asked in (train, test) for one in asked for image in one.images]
    labels = Labels.of(every)
    found = {}
    states = []
    for dataset, asked in (train, test):
        reader = ImageReader(probed, dataset)
        images = [image for one in asked for image in one.images]
        unlike = list({image.key: image for image in images}.values())
        place = {image.key: at for at, image in enumerate(unlike)}
        of_pairs = torch.tensor([[place[image.key] for image in one.images] for one in asked])
        single = image_states(probed, reader, unlike)
        states.append((unlike, of_pairs, single, pair_states(probed, reader, asked), images))
    (images, _, single, paired, listed), (others, places, unseen, asked_states, asked_images) = (
        states
    )
    for name in (name for name in BY_IMAGE if name in single):
        probe = train_probe(single[name], labels.targets(images), seed)
        logits = scores(probe, unseen[name])
        auc = mean_auc(logits, labels.targets(others).numpy())
        found[name] = auc, choice(test[1], logits[places.numpy()], labels)
    for name in (name for name in BY_PAIR if name in paired):
        # A state of the pair is read once for each image, by a probe of its own.
        logits = np.stack(
            [
                scores(
                    train_probe(_of(paired[name], image), labels.targets(listed[image::2]), seed),
                    _of(asked_states[name], image),
                )
                for image in range(2)
            ],
            axis=1,
        )
        targets = labels.targets(asked_images).numpy()
        flat = logits.reshape(-1, logits.shape[-1])
        found[name] = mean_auc(flat, targets), choice(test[1], logits, labels)
    return found


def _of(states: Tensor, image: int) -> Tensor:
    """Return the states (Q, tokens, width) that are read for the first or the second image."""
    return states[:, image] if states.dim() == 4 else states


def table(results: Mapping[str, Mapping[str, tuple[float, float]]]) -> str:
    """Return all figures in percent as Markdown."""
    head = [f"{model} {name}" for model in results for name in ("AUC", "choice")]
    lines = [f"| states | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    for stage in (*BY_IMAGE, *BY_PAIR):
        cells = [
            f"{100 * value:.1f}" if stage in found else ""
            for found in results.values()
            for value in found.get(stage, (0.0, 0.0))
        ]
        lines.append(f"| {stage} | {' | '.join(cells)} |")
    return "\n".join(lines)


def drawn_questions(images: Sequence[Shown], number: int, seed: int) -> list[Asked]:
    """Draw questions about unique parts of the train split, as the triangles ask them."""
    return PairDraw(images, (Task.UNIQUE_PARTS,)).batch(number, seed, 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.part_probe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--checkpoint", action="append", required=True, metavar="NAME=DIR", help="several times")
    add("--dataset", type=Path, required=True, metavar="DIR", help="build to train probes on")
    add("--test-dataset", type=Path, required=True, metavar="DIR", help="build of another seed")
    add("--pairs", type=int, default=6000, metavar="N", help="questions to train on (6000)")
    add("--triangles", type=int, default=100, metavar="N", help="at most (100)")
    add("--seed", type=int, default=0, metavar="N", help="of pairs and probes (0)")
    add("--threads", type=int, default=2, metavar="N", help="default: 2")
    add("--note", default="", help="for the record: what else ran on the machine")
    add("--write", type=Path, metavar="FILE", help="put the table into this document")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    prepare_process(arguments.threads)
    progress = terminal_progress()
    dataset, other = BuiltDataset(arguments.dataset), BuiltDataset(arguments.test_dataset)
    seen = [i for i in shown_images(dataset) if fitting(Task.UNIQUE_PARTS, i)]
    unseen = [i for i in shown_images(other) if fitting(Task.UNIQUE_PARTS, i)]
    asked = drawn_questions(seen, arguments.pairs, arguments.seed)
    triangles = draw_triangles(Task.UNIQUE_PARTS, unseen, arguments.triangles)
    tested = questions(Task.UNIQUE_PARTS, triangles)
    results = {}
    for text in arguments.checkpoint:
        name, _, path = text.rpartition("=")
        progress.log(f"probing {path}")
        probed = Probed.of(Path(path))
        results[name or path] = probe_all(probed, (dataset, asked), (other, tested), arguments.seed)
    lines = [
        "## Where parts can be read",
        "",
        f"`python -m benchmarks.part_probe --pairs {arguments.pairs} --triangles"
        f" {arguments.triangles} --seed {arguments.seed}`:"
        f" {datetime.date.today().isoformat()}, {machine(('torch', 'transformers'))};"
        f" {len(tested)} questions. In percent. {arguments.note}".rstrip(),
        "",
        table(results),
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write is not None:
        write_section(arguments.write, "benchmarks.part_probe", text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
