"""Tables of scores and report of random answers to the rows of a build: CPU time and size.

Answers are the ground truth with masks moved, names exchanged, regions left out and added. Reading
the build, loading the text model and encoding names are counted apart.

    python benchmarks/report_speed.py --dataset runs/demo/mixedparts --split test [--samples 1000]
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calico.evaluation.ground_truth import SampleGroundTruth, read_ground_truth
from calico.evaluation.page.write import Evaluated, ReportOptions, write_evaluation
from calico.evaluation.report import Scored
from calico.evaluation.scoring import score
from calico.evaluation.summary import summarise
from calico.evaluation.tables.collect import ScoreRecorder
from calico.evaluation.tables.folder import frames_of, write_scores
from calico.evaluation.text import load_text_model
from calico.predictions.types import Prediction, Segment
from mixedparts import masks
from mixedparts.storage.build_folder import BuildFolder


def moved(segment: Segment, pixels: int) -> Segment:
    """Return a segment whose mask is moved to the right, around the edge."""
    dense = np.roll(masks.decode(segment.mask), pixels, axis=1)
    return replace(segment, mask=masks.from_dense(dense))


def answered(samples: Sequence[SampleGroundTruth], seed: int) -> dict[str, Prediction]:
    """Return an answer to each sample, of mixed quality."""
    rng = np.random.default_rng(seed)
    names = sorted({segment.label for sample in samples for segment in sample.segments})
    answers = {}
    for sample in samples:
        said = []
        for segment in sample.segments:
            luck = rng.random()
            if luck < 0.6:
                said.append(moved(segment, int(rng.integers(0, segment.mask.width // 30))))
            elif luck < 0.75:
                said.append(replace(segment, label=str(rng.choice(names))))
            elif luck < 0.9:
                said.append(moved(segment, segment.mask.width // 6))
        answers[sample.id] = Prediction(sample.id, "", tuple(said))
    return answers


def main() -> None:
    """Measure, and print one line a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--shown", type=int, default=24, help="worst samples on the page")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    build = BuildFolder.open(arguments.dataset)
    samples = read_ground_truth(build, arguments.split, arguments.samples).samples
    answers = answered(samples, arguments.seed)
    model = load_text_model()
    score(samples, answers, model, model)  # encodes all names
    print(f"{len(samples)} samples, {sum(len(a.segments) for a in answers.values())} masks")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start, wall = time.process_time(), time.perf_counter()
        recorder = ScoreRecorder(arguments.split)
        table = score(samples, answers, model, model, recorder.record)
        rows = recorder.finish(table, samples, answers)
        write_scores(folder / "scores", rows, {})
        tables = time.process_time()
        summary = summarise(table)
        scored = [Scored("drawn", summary, {})]
        drawn = time.process_time()
        evaluated = Evaluated(build, arguments.split, scored, table, frames_of(rows), answers)
        options = ReportOptions(samples=arguments.shown)
        written = write_evaluation(folder / "report", evaluated, options)
        end = time.process_time()
        bytes_of_scores = sum(path.stat().st_size for path in (folder / "scores").iterdir())
        figures = sum(p.stat().st_size for p in (folder / "report/figures").iterdir())
        print(f"scores and tables  {tables - start:6.2f} s CPU, {bytes_of_scores / 1e6:.2f} MB")
        print(f"intervals          {drawn - tables:6.2f} s CPU")
        print(f"report             {end - drawn:6.2f} s CPU, page {written.bytes / 1e6:.1f} MB of"
              f" {written.samples} samples, figures {figures / 1e6:.1f} MB")  # fmt: skip
        print(f"together           {end - start:6.2f} s CPU, {time.perf_counter() - wall:.1f} s")


if __name__ == "__main__":
    main()
