"""Documents and forms for contributors: what they name is there, and what matters is named."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixedparts import __version__
from tests.checkout import ROOT

PAGES = ("CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md", "examples/README.md")
PRODUCT = ("mixedparts", "builders", "calico")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def yaml_files() -> list[Path]:
    found = [ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml"]
    found += sorted((ROOT / ".github").rglob("*.y*ml"))
    return [*found, *sorted((ROOT / "examples").rglob("*.y*ml"))]


def load(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def recipe(title: str) -> str:
    """Return a section of CONTRIBUTING.md."""
    return GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def files_with(pattern: str, *folders: str) -> set[str]:
    """Return the files of some packages that contain a pattern."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".jinja", ".js")
        and re.search(pattern, path.read_text(encoding="utf-8"))
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https://|#)([^)#]+)", text)
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    paths = re.findall(
        r"`((?:\.ci|builders|calico|docs|manifests|mixedparts|tests)/[^`\s]*)`", text
    )
    missing += [path for path in paths if "NAME" not in path and not (ROOT / path).exists()]
    assert len(links) + len(paths) > 1
    assert missing == []


def test_all_targets_are_explained_and_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", GUIDE))
    assert named <= targets
    tiers = {target for target in targets if target.startswith("test")}
    assert named >= tiers | {"setup", "lint", "demo", "preset", "gpu-check"}


def test_the_recipe_of_a_filter_names_all_files_that_know_one() -> None:
    known = files_with("min[-_]part[-_]area", *PRODUCT)
    assert len(known) > 5
    assert [file for file in sorted(known) if f"`{file}`" not in recipe("Add a part filter")] == []


def test_the_recipe_of_a_metric_names_all_files_that_list_one() -> None:
    known = files_with(r"IOU_STRICT|(?<!= )\"miou_strict\"[,:]", "calico")
    assert len(known) > 4
    assert [file for file in sorted(known) if f"`{file}`" not in recipe("Add a metric")] == []


def test_the_recipe_of_a_task_names_all_files_that_tell_tasks_apart() -> None:
    known = files_with(r"\bTask\.[A-Z]+_|[\"'](common_object|unique_parts)[\"']", *PRODUCT)
    assert len(known) > 15
    assert [file for file in sorted(known) if f"`{file}`" not in recipe("Add a task")] == []


def test_names_of_the_recipes_are_in_the_files_that_they_are_said_to_be_in() -> None:
    found = 0
    for step in re.findall(r"^\d\. .+?(?=^\d\. |^$)", GUIDE, re.MULTILINE | re.DOTALL):
        files = [ROOT / name for name in re.findall(r"`([\w./]+\.(?:py|toml|md))`", step)]
        text = "\n".join(path.read_text() for path in files if path.is_file())
        for name in re.findall(r"`(_?[A-Za-z]\w+)`", step):
            found += 1
            assert not text or re.search(rf"\b{name}\b", text), f"{name}: {step}"
    assert found > 15


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: path.name)
def test_yaml_files_are_read(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    assert documents
    assert all(isinstance(document, dict) for document in documents)


@pytest.mark.parametrize("name", ["bug", "feature", "source"])
def test_issue_forms_have_what_github_requires(name: str) -> None:
    form = load(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"]
    assert form["description"]
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    ids = [item["id"] for item in fields]
    assert len(ids) == len(set(ids)) > 0
    assert all(item["attributes"]["label"] for item in fields)
    assert any(item.get("validations", {}).get("required") for item in fields)
    for item in form["body"]:
        assert item["type"] in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
        if item["type"] in ("dropdown", "checkboxes"):
            assert item["attributes"]["options"]


def test_a_bug_report_asks_for_the_environment() -> None:
    fields = {item.get("id"): item for item in load(".github/ISSUE_TEMPLATE/bug.yml")["body"]}
    assert "mixedparts env" in fields["environment"]["attributes"]["label"]
    assert fields["environment"]["validations"]["required"]


def test_the_workflow_runs_the_same_script_as_anybody() -> None:
    workflow = load(".github/workflows/ci.yml")
    assert set(workflow[True]) == {"push", "pull_request"}  # YAML 1.1 reads the key `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1] == {"run": ".ci/run"}
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_the_hooks_are_the_checks_of_lint() -> None:
    (repository,) = load(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    hooks = {tuple(shlex.split(hook["entry"])) for hook in repository["hooks"]}
    lint = re.search(r"^lint:.*\n((?:\t.+\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert lint
    for line in lint.group(1).splitlines():
        # The hooks get the files of a commit, and repair their format instead of reporting it.
        words = shlex.split(line.strip().replace("$(BIN)", ".venv/bin"))
        wanted = [word for word in words if word not in (".", "--check")]
        assert any(list(hook[: len(wanted)]) == wanted for hook in hooks), line
    assert len(hooks) == len(lint.group(1).splitlines())


def test_the_citation_is_of_this_version_and_of_the_paper() -> None:
    citation = load("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    # No person is named for the project itself.
    assert all(author.keys() == {"name"} for author in citation["authors"])
    (paper,) = citation["references"]
    assert paper["url"] == "https://arxiv.org/abs/2412.19331"
    assert [author["family-names"] for author in paper["authors"]] == [
        "Nguyen",
        "Juvekar",
        "Yu",
        "Wahed",
        "Lourentzou",
    ]
