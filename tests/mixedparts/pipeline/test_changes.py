"""Files that change while a build runs: one message, exit code 3, and a command that helps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mixedparts.cli import main
from mixedparts.errors import InputError
from mixedparts.pipeline import build as stages
from mixedparts.pipeline import destination
from mixedparts.pipeline.build import build
from mixedparts.pipeline.config import BuildConfig
from mixedparts.pipeline.write import WriteTask, run_write, write_tasks
from mixedparts.progress import Silent
from mixedparts.storage.shards import sha256_of
from tests.factories.ade20k import write_ade20k
from tests.oracles.build_tables import iter_rows
from tests.oracles.digests import digests

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source, and an image that a build uses, relative to it; do not write here."""
    root = tmp_path_factory.mktemp("written") / "src"
    write_ade20k(root, 8, 6)
    out = tmp_path_factory.mktemp("first") / "out"
    build(BuildConfig(sources=("ade20k",), root=root, out=out, samples=60), Silent())
    names = {row["image"]["path"] for row in iter_rows(out, "images", "train")}
    pictures = sorted((root / "ADE20KPart234/images/training").glob("*.jpg"))
    return root, next(path for path in pictures if path.name in names).relative_to(root)


@pytest.fixture
def root(written: tuple[Path, Path], tmp_path: Path) -> Path:
    return shutil.copytree(written[0], tmp_path / "src")


@pytest.fixture
def used(written: tuple[Path, Path], root: Path) -> Path:
    return root / written[1]


def words(root: Path, out: Path, *more: str) -> list[str]:
    basic = ["build", "--sources", "ade20k", "--root", str(root), "--out", str(out)]
    return [*basic, "--samples", "60", "--workers", "1", "--quiet", *more]


def run(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    """Run the command in this process, and return its exit code and what it printed to stderr."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


def after(
    monkeypatch: pytest.MonkeyPatch, stage: str, change: Callable[[], None], times: int = 1
) -> None:
    """Change something once a function that the stages of a build call has run."""
    module = stages if hasattr(stages, stage) else destination
    real = getattr(module, stage)
    left = [times]

    def changing(*arguments: Any, **options: Any) -> Any:
        result = real(*arguments, **options)
        if left[0]:
            left[0] -= 1
            change()
        return result

    monkeypatch.setattr(module, stage, changing)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def gone(path: Path) -> None:
    path.unlink()


def another_header(path: Path) -> None:
    """Put an image of another grid in place: as many bytes, and the old time of modification."""
    status = path.stat()
    with Image.open(path) as opened:
        size = opened.size
    Image.new("RGB", (size[0] - 8, size[1])).save(path, format="JPEG", quality=20)
    data = path.read_bytes()
    assert len(data) <= status.st_size
    path.write_bytes(data + b"\0" * (status.st_size - len(data)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def no_image(path: Path) -> None:
    """Put bytes that are no image and no JSON in place."""
    path.write_bytes(b"x" * path.stat().st_size)


CHANGES: dict[str, Change] = {
    "bytes and now has": longer,
    "cannot be read any more": gone,
    "header no longer is that of": another_header,
    "no longer is that of": no_image,
}


@pytest.mark.parametrize(
    ("expected", "images"),
    [*((expected, "embed") for expected in CHANGES), ("bytes and now has", "reference")],
)
def test_an_image_replaced_between_reading_and_writing_ends_the_build(
    expected: str,
    images: str,
    root: Path,
    used: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, wanted = tmp_path / "out", tmp_path / "wanted"
    command = words(root, out, "--images", images)
    with monkeypatch.context() as patched:
        after(patched, "run_pair", lambda: CHANGES[expected](used))
        code, told = run(capsys, command)
    assert code == 3
    assert f"image {used.stem} of ade20k" in told
    assert str(used) in told
    assert expected in told
    assert "--overwrite" in told
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) == 2
    assert not (out / "manifest.json").exists()
    # The command of the message works, also when the image has changed for good.
    code, told = run(capsys, [*command, "--overwrite"])
    assert code == 0, told
    assert run(capsys, words(root, wanted, "--images", images))[0] == 0
    assert digests(out, "log.jsonl") == digests(wanted, "log.jsonl")


def test_a_worker_process_reports_it_too(
    root: Path,
    used: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    after(monkeypatch, "run_pair", lambda: longer(used))
    code, told = run(capsys, words(root, tmp_path / "out", "--workers", "2"))
    assert code == 3
    assert str(used) in told
    assert "Traceback" not in told


def test_the_preview_checks_its_images(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    config = BuildConfig(sources=("ade20k",), root=root, out=out, samples=60)
    tasks: list[WriteTask] = []

    def keep(config: BuildConfig, paired: Any) -> list[Any]:
        tasks.extend(task for task in write_tasks(config, paired) if task.table == "preview")
        for path in (root / "ADE20KPart234/images").rglob("*.jpg"):
            another_header(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "write_tasks", keep)
    with pytest.raises(KeyboardInterrupt):
        build(config, Silent())
    (task,) = tasks
    with pytest.raises(InputError, match="changed after it was read"):
        run_write(task)


@pytest.mark.parametrize(
    ("changed", "listed"),
    [
        ("ade20k_instance_train.json", "ade20k_instance_train.json"),
        (
            "annotations_detectron2_part/training/ADE_train_00000001.png",
            "annotations_detectron2_part/training",
        ),
        ("images/training/ADE_train_00000001.jpg", "images/training"),
    ],
)
def test_an_input_that_changes_while_it_is_read_ends_the_build(
    changed: str,
    listed: str,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, out = root / "ADE20KPart234" / changed, tmp_path / "out"

    def change() -> None:
        if path.suffix == ".json":
            content = json.loads(path.read_text())
            content["annotations"].pop()
            path.write_text(json.dumps(content))
        else:
            longer(path)

    with monkeypatch.context() as patched:
        after(patched, "make_plan", change)
        code, told = run(capsys, words(root, out))
    assert code == 3
    assert "changed while they were read" in told
    assert f"ADE20KPart234/{listed}: " in told
    assert "Traceback" not in told
    # Nothing is left of what was read, so the same command starts anew.
    code, told = run(capsys, words(root, out))
    assert code == 0, told
    assert run(capsys, words(root, tmp_path / "fresh"))[0] == 0
    assert digests(out, "log.jsonl") == digests(tmp_path / "fresh", "log.jsonl")


def test_an_image_put_back_lets_the_same_command_go_on(
    root: Path,
    used: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = used.read_bytes()
    with monkeypatch.context() as patched:
        after(patched, "run_pair", lambda: longer(used))
        assert run(capsys, words(root, tmp_path / "out"))[0] == 3
    used.write_bytes(kept)
    assert run(capsys, words(root, tmp_path / "out"))[0] == 0


def test_an_annotation_file_that_shrinks_is_named_and_not_the_error_of_its_reader(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = root / "ADE20KPart234/ade20k_instance_train.json"
    after(monkeypatch, "store_plan", lambda: no_image(path))
    code, told = run(capsys, words(root, tmp_path / "out"))
    assert code == 3
    assert "inputs changed while they were read" in told
    assert path.name in told


def test_a_touched_file_is_no_change(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def touch() -> None:
        for path in root.rglob("*"):
            os.utime(path)

    out = tmp_path / "out"
    after(monkeypatch, "make_plan", touch)
    assert run(capsys, words(root, out))[0] == 0
    touch()
    code, told = run(capsys, [word for word in words(root, out) if word != "--quiet"])
    assert code == 0
    assert "nothing to do" in told


def test_one_process_builds_changed_sources_anew(root: Path, tmp_path: Path) -> None:
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    shutil.rmtree(root / "ADE20KPart234/images/validation")
    shutil.rmtree(root / "ADE20KPart234/annotations_detectron2_part/validation")
    (root / "ADE20KPart234/ade20k_instance_val.json").unlink()
    path = root / "ADE20KPart234/ade20k_instance_train.json"
    config = BuildConfig(sources=("ade20k",), root=root, out=out, samples=60)
    build(config, Silent())
    status = path.stat()
    content = path.read_bytes()
    # Another class for every chair, in a file of equal size and time.
    changed = content.replace(b'"name": "chair"', b'"name": "couch"')
    assert changed != content
    path.write_bytes(changed)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    build(config, Silent(), overwrite=True)
    shutil.copytree(root, tmp_path / "copy")
    copied = BuildConfig(sources=("ade20k",), root=tmp_path / "copy", out=fresh, samples=60)
    build(copied, Silent())
    assert digests(out, "log.jsonl") == digests(fresh, "log.jsonl")
    assert json.loads((out / "manifest.json").read_text())["rejects"]["unknown_category"] > 0


@pytest.fixture
def remembered(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildConfig:
    """A finished build; the cache has the digests of the shards that have just been written."""
    monkeypatch.setattr("mixedparts.storage.digest_cache._RACY_NS", -1)
    config = BuildConfig(sources=("ade20k",), root=root, out=tmp_path / "out", samples=60)
    build(config, Silent())
    return config


def test_damage_of_a_shard_is_found_behind_the_cache(remembered: BuildConfig) -> None:
    out = remembered.out
    whole = digests(out, "log.jsonl")
    shard = next((out / "pairs").glob("train-*"))
    status, data = shard.stat(), bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0xFF
    shard.write_bytes(data)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    build(remembered, Silent())
    assert digests(out, "log.jsonl") == whole


def test_an_intact_build_is_not_read_again(
    remembered: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = remembered.out
    read: list[Path] = []

    def recorded(path: Path) -> str:
        read.append(path)
        return sha256_of(path)

    monkeypatch.setattr("mixedparts.storage.digest_cache.sha256_of", recorded)
    build(remembered, Silent())
    # Neither sources nor tables: only files that the build wrote last and did not hash in passing.
    unknown = {path.relative_to(out).as_posix() for path in read}
    assert {"rejects.parquet", "manifest.json", "README.md"} <= unknown
    assert not any(name.startswith(("pairs/", "images/", "entities/")) for name in unknown)
    read.clear()
    build(remembered, Silent())
    assert read == []
