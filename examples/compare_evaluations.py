"""Compare two evaluations: is the second better, where, and which names does it confuse?

Give it the JSON files of two evaluations of the same dataset, split and limit. `calico-eval
--compare` prints the same differences as a table; here they are values that you can plot or test.

    calico-eval --dataset data/mixedparts --predictions first.jsonl --json first.json
    calico-eval --dataset data/mixedparts --predictions second.jsonl --json second.json
    python examples/compare_evaluations.py first.json second.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import calico.evaluation
from calico.evaluation.summary import RATIOS
from calico.evaluation.tables.comparison import compare_runs, read_runs
from mixedparts.exit_codes import run_command


def main() -> int:
    """Print differences with intervals, the samples that changed most, and confused names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--metric", choices=tuple(RATIOS), default="miou_strict", metavar="KEY")
    asked = parser.parse_args()

    comparison = compare_runs(read_runs([asked.first, asked.second]), metric=asked.metric)
    (second,) = comparison.others
    for title, group in second.difference.groups().items():
        change = group.metrics[asked.metric]
        assert change.low is not None
        assert change.high is not None
        # Both draws of a bootstrap replicate take the same samples, so the interval is a paired
        # one: it is clear which run is better where it leaves out 0.
        clear = "clear" if change.low > 0 or change.high < 0 else "not clear"
        print(
            f"{title}: {asked.metric} {100 * change.value:+.1f} points"
            f" ({100 * change.low:+.1f} to {100 * change.high:+.1f}), {clear}"
        )

    changed = second.changed  # a pandas frame, by falling change
    print(f"\nrose most: {changed.id.iloc[0]} {100 * changed.change.iloc[0]:+.1f}")
    print(f"fell most: {changed.id.iloc[-1]} {100 * changed.change.iloc[-1]:+.1f}")

    _, regions = calico.evaluation.scores(asked.second)
    wrong = regions[regions.outcome == "wrong_name"]
    print(f"\n{second.run.name}: {len(wrong)} regions have a good mask and another name")
    for (name, said), count in wrong.value_counts(["name", "predicted_name"]).head(5).items():
        print(f"  {name} was called {said}: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
