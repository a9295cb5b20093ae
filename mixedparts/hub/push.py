"""A build to a Hub: checked, copied without pixels, sent file by file, the card last.

What the Hub holds already, by its digest, is not sent again, so that an interrupted push goes on
where it stopped. Files of an earlier build go away with the last commit, which brings the card.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mixedparts.cards.croissant import CROISSANT
from mixedparts.cards.summary import Report, text_table
from mixedparts.errors import EnvironmentFault, InputError, ProblemsFound, UsageError
from mixedparts.hub.pixel_free_copy import make_copy, push_files
from mixedparts.pipeline.build_manifest import CARD, MANIFEST, read_manifest
from mixedparts.progress import Progress
from mixedparts.storage.schema import CONFIGS
from mixedparts.storage.shards import sha256_of
from mixedparts.verification.verify import verify

_FILES_A_COMMIT = 50
_LAST = (MANIFEST, CROISSANT, CARD)
_SITE = "https://huggingface.co/datasets"


class Hub(Protocol):
    """What a push needs of a Hub."""

    def create(self, repo_id: str, private: bool) -> None:
        """Make the dataset repository unless it is there."""

    def digests(self, repo_id: str) -> dict[str, str | None]:
        """Return the SHA-256 of each stored file, None where the Hub does not tell it."""

    def commit(
        self, repo_id: str, folder: Path, add: Sequence[str], remove: Sequence[str], message: str
    ) -> None:
        """Add files of a folder and remove others in one commit."""


@dataclass(frozen=True, slots=True)
class HuggingFaceHub:
    """The Hub that `huggingface_hub` is set up for."""

    api: Any

    @classmethod
    def connect(cls) -> HuggingFaceHub:
        """Return the Hub of the environment (`HF_ENDPOINT`, `HF_TOKEN`, or a stored login)."""
        import huggingface_hub

        return cls(huggingface_hub.HfApi())

    def create(self, repo_id: str, private: bool) -> None:
        with _told(repo_id):
            self.api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)

    def digests(self, repo_id: str) -> dict[str, str | None]:
        with _told(repo_id):
            tree = list(self.api.list_repo_tree(repo_id, recursive=True, repo_type="dataset"))
        return {
            item.path: item.lfs.sha256 if item.lfs else None
            for item in tree
            if hasattr(item, "lfs")
        }

    def commit(
        self, repo_id: str, folder: Path, add: Sequence[str], remove: Sequence[str], message: str
    ) -> None:
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [CommitOperationAdd(path, str(folder / path)) for path in add]
        operations += [CommitOperationDelete(path) for path in remove]
        with _told(repo_id):
            self.api.create_commit(repo_id, operations, commit_message=message, repo_type="dataset")


@contextmanager
def _told(repo_id: str) -> Iterator[None]:
    """Turn what the Hub's library raises into one message."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The library's versions speak HTTP by other libraries; the base of theirs is in any of them.
    transport: type[Exception] = HfHubHTTPError.__bases__[0]

    hint = "Log in with `hf auth login` (or set HF_TOKEN); the same command then goes on."
    try:
        yield
    except HFValidationError as error:
        raise UsageError(f"'{repo_id}' is no id of a repository: {error}") from error
    except (transport, OSError) as error:
        raise EnvironmentFault(f"the Hub refused {repo_id}: {error}", hint) from error


def push_plan(build: Path, repo_id: str, pixels: bool) -> Report:
    """Say what a push would send; nothing is written, nobody is asked.

    Raises:
        InputError: there is no finished build in the folder.
        UsageError: pixels are asked for and the build holds none.
    """
    manifest = _manifest(build, pixels)
    files = push_files(manifest, build, pixels)
    rows = []
    for table in (*CONFIGS, "rejects"):
        mine = [file.bytes for file in files if file.path.split("/")[0].split(".")[0] == table]
        rows.append([table, str(len(mine)), f"{sum(mine) / 1e6:.2f} MB"])
    lines = [f"to the dataset repository {repo_id}:", text_table(["table", "files", "bytes"], rows)]
    lines += _licence_lines(manifest, pixels)
    values = {
        "repo_id": repo_id,
        "pixels": pixels,
        "files": {file.path: file.bytes for file in files},
    }
    return Report("\n".join(lines), values)


def push(
    build: Path, repo_id: str, pixels: bool, private: bool, hub: Hub, progress: Progress
) -> dict[str, int]:
    """Check a build, and bring the Hub to hold it.

    Args:
        pixels: send pictures too; their owners' licences then bind whoever publishes them.
        private: only where the repository is made anew.

    Returns:
        How many files were sent, skipped (there already) and removed.

    Raises:
        ProblemsFound: the build is not whole.
        EnvironmentFault: the Hub cannot be reached or refuses.
    """
    manifest = _manifest(build, pixels)
    problems = verify(build, "full")
    if problems.total:
        raise ProblemsFound(
            f"{build} is not whole: {problems.listed[0]} ({problems.total} problems)",
            f"Look at all of them: mixedparts verify {build}",
        )
    copy = make_copy(build, manifest, pixels, f"{_SITE}/{repo_id}")
    hub.create(repo_id, private)
    there = hub.digests(repo_id)
    files = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*.parquet"))
    missing = [path for path in files if there.get(path) != sha256_of(copy / path)]
    progress.start("sending files", len(missing), "files")
    for start in range(0, len(missing), _FILES_A_COMMIT):
        some = missing[start : start + _FILES_A_COMMIT]
        message = f"Build {manifest['build_id']}: {len(some)} files"
        hub.commit(repo_id, copy, some, [], message)
        progress.advance(len(some))
    progress.finish()
    tables = {*CONFIGS, "rejects.parquet"}
    stale = sorted(p for p in there if p.split("/")[0] in tables and p not in set(files))
    hub.commit(repo_id, copy, _LAST, stale, f"Build {manifest['build_id']}")
    skipped = len(files) - len(missing)
    return {"sent": len(missing) + len(_LAST), "skipped": skipped, "removed": len(stale)}


def _manifest(build: Path, pixels: bool) -> dict[str, Any]:
    manifest = read_manifest(build)
    if manifest is None:
        raise InputError(
            f"{build} holds no finished build",
            "Run the `mixedparts build` command again: it goes on where it stopped.",
        )
    if pixels and manifest["configuration"]["images"] != "embed":
        raise UsageError(
            f"{build} holds no pixels (images: {manifest['configuration']['images']})",
            "Push it without --with-pixels, or build with --images embed.",
        )
    return manifest


def _licence_lines(manifest: dict[str, Any], pixels: bool) -> list[str]:
    if not pixels:
        return ["Pictures stay here: images without pixels, no preview (--with-pixels sends them)."]
    lines = ["This publishes pictures of other people. Their licences must allow that:"]
    for name, source in manifest["sources"].items():
        lines.append(f"  {source.get('title', name)}: {source.get('image_licence', 'unknown')}")
    return lines
