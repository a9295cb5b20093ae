"""The house keeps its shape: layers, sizes, one door to a build, docstrings of public functions."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("mixedparts", "builders", "calico")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> list[Path]:
    return sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def functions(path: Path) -> Iterator[Function]:
    """Yield the functions of a module and the methods of its classes, without nested ones."""
    body: list[ast.stmt] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while body:
        node = body.pop()
        if isinstance(node, ast.ClassDef):
            body += node.body
        elif isinstance(node, Function):
            yield node


def test_the_top_of_mixedparts_has_at_most_nine_modules() -> None:
    assert len(list((ROOT / "mixedparts").glob("*.py"))) <= 9


def test_a_file_has_at_most_400_lines_and_a_function_60() -> None:
    long = [str(p) for p in modules() if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    for path in modules():
        for node in functions(path):
            if (node.end_lineno or 0) - node.lineno >= 60:
                long.append(f"{path}: {node.name}")
    assert long == []


def parameters(node: Function) -> list[str]:
    every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [item.arg for item in every if item.arg not in ("self", "cls")]


def sections_missing(node: Function) -> list[str]:
    text = ast.get_docstring(node) or ""
    missing = [
        name for name in parameters(node) if not re.search(rf"^ +.*\b{name}\b.*:", text, re.M)
    ]
    returned = ast.unparse(node.returns) if node.returns else "None"
    if returned not in ("None", "NoReturn") and not re.search(r"^(Returns|Yields):", text, re.M):
        missing.append("Returns")
    raises = any(isinstance(item, ast.Raise) and item.exc for item in ast.walk(node))
    if raises and "Raises:" not in text:
        missing.append("Raises")
    return missing if "Args:" in text else ["Args", *missing]


def test_public_functions_with_three_parameters_document_all_of_them() -> None:
    faults = []
    for path in modules():
        for node in functions(path):
            public = not node.name.startswith("_")
            if public and len(parameters(node)) >= 3 and (missing := sections_missing(node)):
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {missing}")
    assert faults == []


def test_builds_are_read_through_one_class() -> None:
    """Names of a build's files, and readers of whole tables, are in the one door and the writer."""
    pattern = re.compile(r"\"manifest\.json|read_table\(|-of-\{|\.parquet\"|ParquetFile\(")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    # Exports, a copy for a Hub and scores of an evaluation are no builds; they have other files.
    # Shards of images are read on the Hub too, where there is no folder of a build.
    others = {
        "mixedparts/loading/image_shards.py",
        "mixedparts/interchange/export/self_contained.py",
        "mixedparts/hub/pixel_free_copy.py",
        "mixedparts/hub/push.py",
        "calico/evaluation/tables/folder.py",
    }
    assert found - others == {"mixedparts/storage/build_folder.py"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_imports_keep_to_the_layers(copy: Path) -> None:
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("mixedparts/storage/shards.py", "import mixedparts.pipeline.plan"),
        ("mixedparts/interchange/export/rows.py", "import builders.paco"),
        ("builders/formats/paths.py", "import builders.bases.coco_index"),
        ("calico/model/losses.py", "import calico.weights.files"),
        ("calico/processing/tokenizer.py", "from calico.training import train"),
    ],
)
def test_an_arrow_up_fails(copy: Path, module: str, line: str) -> None:
    path = copy / module
    text = path.read_text(encoding="utf-8")
    try:
        path.write_text(f"{text}\n\ndef _later() -> None:\n    {line}\n", encoding="utf-8")
        done = lint_imports(copy)
    finally:
        path.write_text(text, encoding="utf-8")
    assert done.returncode != 0
    assert "BROKEN" in done.stdout
