"""What a check reports: figures, faults, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

PASSED, FAILED, SKIPPED, NOT_RUN = "passed", "failed", "skipped", "not run"


class Skipped(Exception):
    """Raised by a check that does not apply here; the text says why."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value.

    Attributes:
        expected: what `calico-cost` says about it; None if it says nothing.
    """

    name: str
    value: float | str
    unit: str = ""
    expected: float | None = None

    @property
    def ratio(self) -> float | None:
        """The measured value as a multiple of the expected one."""
        if not self.expected or isinstance(self.value, str):
            return None
        return self.value / self.expected


class Report(Protocol):
    """Takes what a check finds, at once: a check that is killed later has reported it."""

    def figure(
        self, name: str, value: float | str, unit: str = "", expected: float | None = None
    ) -> None:
        """Record a measured value."""
        ...

    def require(self, holds: bool, fault: str) -> None:
        """Record a fault unless something holds; the check goes on."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how large everything runs.

    Attributes:
        device: name for `choose_device`.
        small: the models of micro size instead of the tiny preset and the 7B model.
        work: folder for sources, builds and runs.
    """

    device: str
    small: bool
    work: Path

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU of CUDA."""
        return self.device.startswith("cuda")


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: a word, for the command line.
        title: for the table; `{tiny}` and `{large}` stand for the models of a setting.
        run: does it, in a process of its own.
        seconds: it is ended after this time.
        least: it is not begun with less time left.
        needs: checks that must have passed before.
    """

    name: str
    title: str
    run: Callable[[Setting, Report], None]
    seconds: float
    least: float
    needs: tuple[str, ...] = ()

    def titled(self, setting: Setting) -> str:
        """Return the title with the models of a setting."""
        tiny, large = ("micro", "micro 7B layout") if setting.small else ("tiny", "7B")
        return self.title.format(tiny=tiny, large=large)


@dataclass(slots=True)
class Outcome:
    """How a check ended.

    Attributes:
        status: `PASSED`, `FAILED`, `SKIPPED` or `NOT_RUN`.
        seconds: it took.
        messages: faults, or why it was skipped or not run.
        log: last lines of its output, where it failed.
        cpu: seconds of processors, of its process and those that it waited for.
    """

    name: str
    title: str
    status: str = PASSED
    seconds: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    cpu: float = 0.0

    def plain(self) -> dict[str, Any]:
        """Return everything in plain types, for JSON."""
        values = asdict(self)
        for figure, own in zip(values["figures"], self.figures, strict=True):
            figure["ratio"] = own.ratio
        return values
