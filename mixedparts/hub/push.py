"""Upload of a build to a Hub: verify, copy without pixels, send the data files, then the card.

A file that the Hub already has, by its digest, is not sent again, so an interrupted push continues
where it stopped. The last commit adds card, manifest and metadata, and removes the files of an
earlier build: until then the card describes the earlier build.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mixedparts.cards.summary import Report, text_table
from mixedparts.errors import EnvironmentFault, ProblemsFound, UsageError
from mixedparts.hub.pixel_free_copy import LAST_FILES, make_copy, push_files
from mixedparts.progress import Progress
from mixedparts.settings.local_paths import typed
from mixedparts.storage.build_folder import REJECTS_FILE, BuildFolder
from mixedparts.storage.schema import CONFIGS
from mixedparts.storage.shards import sha256_of
from mixedparts.verification.verify import verify

_FILES_A_COMMIT = 50  # an interrupted push loses at most these
_SITE = "https://huggingface.co/datasets"


class Hub(Protocol):
    """The operations of a Hub that a push needs.

    Each of them raises UsageError for an id that is not valid, and EnvironmentFault if the Hub
    refuses or cannot be reached.
    """

    def create(self, repo_id: str, private: bool) -> None:
        """Create the dataset repository if it does not exist."""

    def digests(self, repo_id: str) -> dict[str, str | None]:
        """Return path -> SHA-256 of each stored file; None where the Hub does not report it."""

    def commit(
        self, repo_id: str, folder: Path, add: Sequence[str], remove: Sequence[str], message: str
    ) -> None:
        """Add and remove files in one commit.

        Args:
            repo_id: the repository, `owner/name`.
            folder: local folder of the files to add.
            add: paths of the files to add, relative to `folder` and in the repository.
            remove: paths of the files to remove from the repository.
            message: commit message.

        Raises:
            UsageError: the id is not valid.
            EnvironmentFault: the Hub refuses or cannot be reached.
        """


@dataclass(frozen=True, slots=True)
class HuggingFaceHub:
    """The Hub that `huggingface_hub` is configured for.

    Attributes:
        api: a `huggingface_hub.HfApi`.
    """

    api: Any

    @classmethod
    def connect(cls) -> HuggingFaceHub:
        """Return the Hub of the environment (`HF_ENDPOINT`, `HF_TOKEN`, or a stored login)."""
        import huggingface_hub

        return cls(huggingface_hub.HfApi())

    def create(self, repo_id: str, private: bool) -> None:
        """Create the dataset repository if it does not exist."""
        with _hub_errors(repo_id):
            self.api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)

    def digests(self, repo_id: str) -> dict[str, str | None]:
        """Return path -> SHA-256 of each stored file; None where the Hub does not report it."""
        # The list is lazy and makes its requests while it is read, so it is read here.
        with _hub_errors(repo_id):
            tree = list(self.api.list_repo_tree(repo_id, recursive=True, repo_type="dataset"))
        # Only files have the attribute `lfs`, and only large files have a digest in it; folders
        # have neither.
        return {
            item.path: item.lfs.sha256 if item.lfs else None
            for item in tree
            if hasattr(item, "lfs")
        }

    def commit(
        self, repo_id: str, folder: Path, add: Sequence[str], remove: Sequence[str], message: str
    ) -> None:
        """Add and remove files in one commit.

        Args:
            repo_id: the repository, `owner/name`.
            folder: local folder of the files to add.
            add: paths of the files to add, relative to `folder` and in the repository.
            remove: paths of the files to remove from the repository.
            message: commit message.

        Raises:
            UsageError: the id is not valid.
            EnvironmentFault: the Hub refuses or cannot be reached.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [CommitOperationAdd(path, str(folder / path)) for path in add]
        operations += [CommitOperationDelete(path) for path in remove]
        with _hub_errors(repo_id):
            self.api.create_commit(repo_id, operations, commit_message=message, repo_type="dataset")


@contextmanager
def _hub_errors(repo_id: str) -> Iterator[None]:
    """Turn the exceptions of the Hub's library into errors of this project.

    Raises:
        UsageError: the id is not valid.
        EnvironmentFault: the Hub refuses or cannot be reached.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # Versions of the library use different HTTP libraries. The first base of its own HTTP error is
    # the error class of the one in use; failed connections are of that class or an OSError.
    transport: type[Exception] = HfHubHTTPError.__bases__[0]

    hint = "Log in with `hf auth login` (or set HF_TOKEN), then run the same command again."
    try:
        yield
    except HFValidationError as error:
        raise UsageError(f"'{repo_id}' is not the id of a repository: {error}") from error
    except (transport, OSError) as error:
        raise EnvironmentFault(f"the Hub refused {repo_id}: {error}", hint) from error


def push_plan(build: Path, repo_id: str, pixels: bool) -> Report:
    """Return what a push would send, without writing anything or asking the Hub.

    Args:
        build: the build folder.
        repo_id: the repository, `owner/name`.
        pixels: whether images are sent.

    Returns:
        The report: every file with its size, and the licences that sending images must respect.

    Raises:
        InputError: there is no finished build in the folder, or a shard of `images` is damaged.
        UsageError: `pixels` is true and the build contains no pixels.
    """
    opened = _opened(build, pixels)
    files = push_files(opened, pixels)
    rows = [[file.path, ("" if file.exact else "~ ") + f"{file.bytes:,}"] for file in files]
    lines = [f"to the dataset repository {repo_id}:", text_table(["file", "bytes"], rows)]
    total = sum(file.bytes for file in files) / 1e6
    lines.append(f"{len(files)} files, {total:.2f} MB; the sizes with ~ are estimates")
    lines += _licence_lines(opened.manifest, pixels)
    values = {
        "repo_id": repo_id,
        "pixels": pixels,
        "files": {file.path: file.bytes for file in files},
    }
    return Report("\n".join(lines), values)


def push(
    build: Path, repo_id: str, pixels: bool, private: bool, hub: Hub, progress: Progress
) -> dict[str, int]:
    """Verify a build, and upload it.

    Args:
        build: the build folder.
        repo_id: the repository, `owner/name`; it is created if it does not exist.
        pixels: whether to send images; the user must then respect their licences.
        private: whether a new repository is private; an existing one is not changed.
        hub: the Hub.
        progress: receives the progress of sending.

    Returns:
        The numbers of files `sent`, `skipped` (the Hub has them) and `removed`.

    Raises:
        InputError: there is no finished build in the folder, or a shard of `images` is damaged.
        UsageError: `pixels` is true and the build contains none, or `repo_id` is not valid.
        ProblemsFound: verification finds a problem in the build, or it names absolute paths.
        EnvironmentFault: the Hub refuses or cannot be reached.
    """
    opened = _opened(build, pixels)
    problems = verify(build, "full")
    if problems.total:
        raise ProblemsFound(
            f"{build} is not whole: {problems.listed[0]} ({problems.total} problems)",
            f"Look at all of them: mixedparts verify {typed(build)}",
        )
    copy = make_copy(opened, pixels, f"{_SITE}/{repo_id}")
    hub.create(repo_id, private)
    stored = hub.digests(repo_id)
    files = sorted(shard.path for shard in BuildFolder.open(copy).shards)
    missing = [path for path in files if stored.get(path) != sha256_of(copy / path)]
    progress.start("sending files", len(missing), "files")
    for start in range(0, len(missing), _FILES_A_COMMIT):
        batch = missing[start : start + _FILES_A_COMMIT]
        message = f"Build {opened.build_id}: {len(batch)} files"
        hub.commit(repo_id, copy, batch, [], message)
        progress.advance(len(batch))
    progress.finish()
    # Other files of the repository (`.gitattributes`, files that its owner added) stay.
    tables = {*CONFIGS, REJECTS_FILE}
    stale = sorted(p for p in stored if p.split("/")[0] in tables and p not in set(files))
    hub.commit(repo_id, copy, LAST_FILES, stale, f"Build {opened.build_id}")
    skipped = len(files) - len(missing)
    return {"sent": len(missing) + len(LAST_FILES), "skipped": skipped, "removed": len(stale)}


def _opened(build: Path, pixels: bool) -> BuildFolder:
    """Open the build to push.

    Raises:
        InputError: there is no finished build in the folder.
        UsageError: `pixels` is true and the build contains no pixels.
    """
    opened = BuildFolder.open(build)
    if pixels and opened.configuration["images"] != "embed":
        raise UsageError(
            f"{build} contains no pixels (images: {opened.configuration['images']})",
            "Push it without --with-pixels, or build with --images embed.",
        )
    return opened


def _licence_lines(manifest: Mapping[str, Any], pixels: bool) -> list[str]:
    """Return the lines of the plan on images: that they stay here, or their licences."""
    if not pixels:
        return ["Pixels stay here: images without pixels, no preview (--with-pixels sends them)."]
    lines = ["This publishes images that belong to others. Their licences must allow that:"]
    for name, source in manifest["sources"].items():
        lines.append(f"  {source.get('title', name)}: {source.get('image_licence', 'unknown')}")
    return lines
