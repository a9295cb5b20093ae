"""The error tree of the toolkit: what went wrong, and the next command to type.

Every error has the exit code of the command that it ends: 1 problems found, 2 usage,
3 missing or unreadable input or environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import metadata

_OWN = ("mixedparts", "builders", "calico", "manifests")
_OF_TRAIN = ("tokenizers",)  # transformers brings it


class MixedPartsError(Exception):
    """Base of all expected failures; its text is the message that the user reads.

    Args:
        message: what happened, where, and why.
        hint: the next command or edit that helps, printed on its own line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type, tuple[str, str | None]]:
        # Worker processes send errors back pickled; the copy is rebuilt from both arguments.
        return type(self), (self.message, self.hint)


class ProblemsFound(MixedPartsError):
    """A check ran to its end and found problems."""


class UsageError(MixedPartsError):
    """The command or configuration asks for something that does not exist or contradicts itself."""

    exit_code = 2


class InputError(MixedPartsError):
    """An input is missing or cannot be read as what it should be."""

    exit_code = 3


class EnvironmentFault(MixedPartsError):
    """The machine lacks something: disk space, a permission, an optional package."""

    exit_code = 3


def missing_package(
    error: ImportError, user: str = "this", extra: str | None = None
) -> EnvironmentFault | None:
    """Return the error for a package that an extra of this project installs, with its command.

    Args:
        error: of the import.
        user: what needs the package, the start of the message.
        extra: that installs it; None: the first extra with this package.

    Returns:
        The error; None if the module belongs to this project, which is then broken.
    """
    module = (error.name or "").partition(".")[0]
    if not module or module in _OWN:
        return None
    extra = extra or _extra_of(module)
    command = f"pip install {module}"
    if extra is not None:
        command = (
            f"pip install --editable '.[{extra}]'   (in a checkout; without one:"
            f" pip install 'mixedparts[{extra}]')"
        )
    return EnvironmentFault(
        f"{user} needs the package {module}, which cannot be imported: {error}",
        f"Install it with: {command}",
    )


def _extra_of(module: str) -> str | None:
    """Return the extra whose packages contain a module, None if there is none."""
    try:
        required = metadata.requires("mixedparts") or []
    except metadata.PackageNotFoundError:
        required = []
    for line in required:
        package, _, marker = line.partition(";")
        name = re.match(r"[\w.-]*", package.strip())
        found = re.search(r"extra == ['\"](\w+)['\"]", marker)
        # Packages of this project have the names of their modules, but for the dash.
        if found and name and name[0].replace("-", "_").lower() == module:
            return found[1]
    return "train" if module in _OF_TRAIN else None


def near_names(word: str, names: Iterable[str]) -> str:
    """Return ` Did you mean ...?` with up to three names close to a misspelt one, or ""."""
    # Dashes of options are alike in all of them, and would make any two look close.
    shown = {name.lstrip("-"): name for name in map(str, names)}
    near = get_close_matches(word.lower().lstrip("-"), shown, n=3, cutoff=0.5)
    # The leading space lets callers append the result to a sentence without a condition.
    return f" Did you mean {' or '.join(repr(shown[name]) for name in near)}?" if near else ""
