"""A stand-in of the Hub."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
from huggingface_hub import CommitOperationAdd

from mixedparts.storage.shards import sha256_of


@dataclass
class StandIn:
    """What `HfApi` does for a push, on a folder; `fail_at` breaks one commit off."""

    folder: Path
    private: bool | None = None
    commits: list[list[str]] = field(default_factory=list)
    fail_at: int | None = None

    def create_repo(self, repo_id: str, repo_type: str, private: bool, exist_ok: bool) -> None:
        assert (repo_type, exist_ok) == ("dataset", True)
        huggingface_hub.utils.validate_repo_id(repo_id)
        self.folder.mkdir(exist_ok=True)
        self.private = private

    def list_repo_tree(self, repo_id: str, recursive: bool, repo_type: str) -> Iterator[Any]:
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_dir():
                yield SimpleNamespace(path=name)  # a folder has no `lfs`
            else:
                stored = SimpleNamespace(sha256=sha256_of(path))
                yield SimpleNamespace(path=name, lfs=stored if name.endswith(".parquet") else None)

    def create_commit(
        self, repo_id: str, operations: list[Any], commit_message: str, repo_type: str
    ) -> None:
        if self.fail_at == len(self.commits):
            self.fail_at = None
            raise ConnectionError("the line is dead")
        names = []
        for operation in operations:
            target = self.folder / operation.path_in_repo
            if isinstance(operation, CommitOperationAdd):
                names.append(operation.path_in_repo)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(operation.path_or_fileobj), target)
            else:
                names.append(f"-{operation.path_in_repo}")
                target.unlink()
        self.commits.append(names)
