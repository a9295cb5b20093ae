"""What verification finds: problems with rule, file and row; all counted, most listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

MOST_LISTED = 1_000


class Rule(StrEnum):
    """What can be broken; `docs/verification.md` says how each is checked."""

    MANIFEST = "manifest"
    PLAN = "plan"
    COMMIT = "commit"
    CARD = "card"
    FILE = "file"
    DIGEST = "digest"
    COLUMNS = "columns"
    COUNTS = "counts"
    METADATA = "metadata"
    STRUCTURE = "structure"
    ID = "id"
    ORDER = "order"
    REPEATED = "repeated"
    IMAGE = "image"
    PIXELS = "pixels"
    ENTITY = "entity"
    MASK = "mask"
    AREA = "area"
    BOX = "box"
    FILTER = "filter"
    CLASSES = "classes"
    PARTS = "parts"
    QUESTION = "question"
    ANSWER = "answer"
    SEG = "seg"
    BENCHMARK = "benchmark"
    PREVIEW = "preview"


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule.

    Attributes:
        file: relative to the build folder.
        row: id of the sample, entity or image; empty where the file as a whole is meant.
    """

    rule: Rule
    file: str
    row: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file} {self.row}" if self.row else self.file
        return f"{where}: {self.text} [{self.rule}]"


@dataclass(slots=True)
class Findings:
    """Problems in the order in which they were found, and how often each rule is broken."""

    listed: list[Problem] = field(default_factory=list)
    counts: Counter[Rule] = field(default_factory=Counter)

    def add(self, rule: Rule, file: str, row: str, text: str) -> None:
        """Note one problem."""
        self.extend([Problem(rule, file, row, text)])

    def extend(self, problems: Iterable[Problem]) -> None:
        """Note problems."""
        for problem in problems:
            self.counts[problem.rule] += 1
            if len(self.listed) < MOST_LISTED:
                self.listed.append(problem)

    def join(self, other: Findings) -> None:
        """Add what another check found."""
        self.counts.update(other.counts)
        self.listed += other.listed[: MOST_LISTED - len(self.listed)]

    @property
    def total(self) -> int:
        """How many problems there are, also those that are not listed."""
        return sum(self.counts.values())
