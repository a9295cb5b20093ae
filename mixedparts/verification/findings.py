"""Problems that verification finds, with rule, file and row; all are counted, most are listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

# A damaged build can break a rule in every row; a list of millions is of no use.
MOST_LISTED = 1_000


class Rule(StrEnum):
    """The rules; `docs/verification.md` describes how each is checked."""

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
    CONTRAST = "contrast"
    BENCHMARK = "benchmark"
    PREVIEW = "preview"


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule in one place.

    Attributes:
        rule: the rule.
        file: path relative to the build folder.
        row: id of the sample, entity or image; empty for a problem of the whole file.
        text: what is wrong.
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
    """Problems of one or more checks.

    Attributes:
        listed: the first `MOST_LISTED` problems, in the order of the checks.
        counts: rule -> number of problems, those that are not listed included.
    """

    listed: list[Problem] = field(default_factory=list)
    counts: Counter[Rule] = field(default_factory=Counter)

    def add(self, rule: Rule, file: str, row: str, text: str) -> None:
        """Add one problem.

        Args:
            rule: the rule.
            file: path relative to the build folder.
            row: id of the sample, entity or image; empty for a problem of the whole file.
            text: what is wrong.
        """
        self.extend([Problem(rule, file, row, text)])

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add problems."""
        for problem in problems:
            self.counts[problem.rule] += 1
            if len(self.listed) < MOST_LISTED:
                self.listed.append(problem)

    def join(self, other: Findings) -> None:
        """Add the problems of another check."""
        # Counts first: `other` may have more problems than it lists.
        self.counts.update(other.counts)
        self.listed += other.listed[: MOST_LISTED - len(self.listed)]

    @property
    def total(self) -> int:
        """Number of problems, those that are not listed included."""
        return sum(self.counts.values())
