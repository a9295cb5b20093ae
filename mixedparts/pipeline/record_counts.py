"""How many records of each level were read and refused: the basis of the limit of rejects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixedparts.records import LOST_MAPS, ImageRecord, Level, Reason, Reject
from mixedparts.storage.shards import Commit

# Reasons of valid records that a source leaves out by choice. They are no sign of a wrong folder or
# of broken files, so the limit ignores these records.
EXPECTED = (Reason.OUTSIDE_VOCABULARY,)
MAP = "map"
"""Level of the segmentation maps, of which every image of a source has one."""
NOUNS = {
    Level.FILE: "categories",
    Level.IMAGE: "images",
    MAP: "segmentation maps",
    Level.OBJECT: "objects",
    Level.PART: "parts",
    Level.POLYGON: "polygons",
    Level.PAIR: "pairs of the bundle",
}
"""What the records of each level are called, causes before what follows from them."""


@dataclass(slots=True)
class RecordCounts:
    """Counts the records of one source and split while they are read.

    Attributes:
        read: number of usable records of each level.
        refused: for each level how many rejects each reason has.
    """

    read: Counter[str] = field(default_factory=Counter)
    refused: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _classes: set[str] = field(default_factory=set)
    _parts: set[str] = field(default_factory=set)

    def add_image(self, record: ImageRecord) -> None:
        """Count an image, its objects and its parts."""
        self.read[Level.IMAGE] += 1
        self.read[Level.OBJECT] += len(record.objects)
        self.read[Level.PART] += len(record.parts)
        self._classes.update([item.category for item in record.objects])
        self._parts.update([part.name for part in record.parts])

    def add_reject(self, reject: Reject) -> None:
        """Count a refused record."""
        self.refused[reject.level][reject.reason] += 1

    def values(self) -> dict[str, Any]:
        """Return the counts as JSON values of a commit record."""
        # Readers do not count the sound categories of a file; those in use are the least it has.
        read = {**self.read, Level.FILE: len(self._classes) + len(self._parts)}
        refused = {level: dict(sorted(of.items())) for level, of in sorted(self.refused.items())}
        return {"read": {str(level): n for level, n in sorted(read.items())}, "refused": refused}


@dataclass(frozen=True, slots=True)
class LevelShare:
    """The refused records of one level, in one source and split.

    Attributes:
        source, split: where they are from.
        level: a value of `Level`, or `MAP`.
        records: all records of the level, refused ones included.
        reasons: how many records were refused for each reason, the most frequent first.
    """

    source: str
    split: str
    level: str
    records: int
    reasons: dict[str, int]

    @property
    def rejected(self) -> int:
        """Number of refused records."""
        return sum(self.reasons.values())

    @property
    def text(self) -> str:
        """What was refused, such as `paco train: 3 of 4 images were rejected (75.0%)`."""
        share = f"{self.rejected / self.records:.1%}"
        reasons = ", ".join(f"{reason}: {n}" for reason, n in self.reasons.items())
        what = f"{self.rejected} of {self.records} {NOUNS[self.level]}"
        return f"{self.source} {self.split}: {what} were rejected ({share}; {reasons})"


def level_shares(reads: Sequence[Commit]) -> list[LevelShare]:
    """Return the levels with refused records of every source and split, causes first.

    A record that is refused because of another one (`image_rejected`) does not count on its level:
    the other record is the fault. A reader does not count polygons, so each usable object and part
    counts as one.
    """
    read: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    refused: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for record in reads:
        key = record.counts["source"], record.counts["split"]
        # Each shard has its own categories; their union has at least as many as the largest.
        numbers = Counter(record.counts["read"])
        most = max(read[key][Level.FILE], numbers.pop(Level.FILE, 0))
        read[key].update(numbers)
        read[key][Level.FILE] = most
        of_levels = refused.setdefault(key, defaultdict(Counter))
        for level, reasons in record.counts["refused"].items():
            of_levels[level].update(reasons)
    shares = (share for key in refused for share in _shares(key, read[key], refused[key]))
    order = list(NOUNS)
    return sorted(shares, key=lambda share: order.index(share.level))


def _shares(
    key: tuple[str, str], read: Counter[str], refused: dict[str, Counter[str]]
) -> Iterator[LevelShare]:
    """Yield the levels with refused records of one source and split."""
    at_images = refused.get(Level.IMAGE, Counter())
    maps = Counter({reason: at_images[reason] for reason in LOST_MAPS if at_images[reason]})
    for level in NOUNS:
        reasons = maps if level == MAP else Counter(refused.get(level, Counter()))
        ignored = (Reason.IMAGE_REJECTED, *EXPECTED, *(LOST_MAPS if level == Level.IMAGE else ()))
        for reason in ignored:
            del reasons[reason]
        rejected = reasons.total()
        if rejected:
            records = {
                MAP: read[Level.IMAGE],
                Level.POLYGON: read[Level.OBJECT] + read[Level.PART] + rejected,
            }.get(level, read[level] + rejected)
            ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
            yield LevelShare(*key, level, max(records, rejected), dict(ordered))
