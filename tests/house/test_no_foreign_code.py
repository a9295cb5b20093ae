"""What SECURITY.md promises of the whole code: nothing that is read runs, servers stay at home."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixedparts.viewer.server.run import HOST, listening
from tests.checkout import ROOT

PACKAGES = ("mixedparts", "builders", "calico", "examples")
# Processes of one run send these to each other; neither is read from a file.
OWN_PICKLES = {"mixedparts/pipeline/runs/outcomes.py", "calico/training/feeding/tasks.py"}
SAFE_LOADERS = {"_Loader"}  # of mixedparts/sources/yaml_entries.py, a subclass of SafeLoader


def faults(call: ast.Call, file: str) -> Iterator[str]:
    """Yield a word for each way in which a call can run what it reads."""
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in ("eval", "exec", "compile", "os.system", "os.popen", "torch.hub.load"):
        yield name
    # `shtab.complete(parser, shell=...)` names the shell that completions are written for.
    if given.get("shell", "False") != "False" and name.startswith(("subprocess.", "os.")):
        yield "shell"
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "weights_only"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle"
    if given.get("trust_remote_code", "False") != "False":
        yield "trust_remote_code"
    pickled = re.fullmatch(r"(pickle|marshal|dill|joblib|shelve)\.(loads?|open|Unpickler)", name)
    if pickled and file not in OWN_PICKLES:
        yield name
    if name in ("yaml.unsafe_load", "yaml.full_load"):
        yield name
    if name == "yaml.load" and ast.unparse(call.args[1]) not in SAFE_LOADERS:
        yield name


def faults_of(text: str, file: str) -> list[str]:
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return [f"{file}:{call.lineno} {fault}" for call in calls for fault in faults(call, file)]


def files() -> list[Path]:
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]


def test_nothing_that_is_read_can_run() -> None:
    found = []
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        found += faults_of(path.read_text(encoding="utf-8"), name)
    assert found == []
    assert "class _Loader(_Base)" in (ROOT / "mixedparts/sources/yaml_entries.py").read_text()


def test_code_of_models_is_never_trusted() -> None:
    """`AutoTokenizer` and the like ask on the terminal unless they are told that it may not run."""
    loading = []
    for path in files():
        body = ast.parse(path.read_text(encoding="utf-8"))
        names = {ast.unparse(node.func) for node in ast.walk(body) if isinstance(node, ast.Call)}
        if any(re.fullmatch(r"Auto\w+\.from_pretrained", name) for name in names):
            loading.append(path.relative_to(ROOT).as_posix())
            assert re.search(r"trust_remote_code(=|\": )False", path.read_text()), path
    assert loading == ["calico/evaluation/text.py"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("torch.load(path)", "weights_only"),
        ("torch.load(path, weights_only=False)", "weights_only"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("pickle.load(file)", "pickle.load"),
        ("yaml.load(text, yaml.Loader)", "yaml.load"),
        ("subprocess.run(text, shell=True)", "shell"),
        ("AutoModel.from_pretrained(place, trust_remote_code=chosen)", "trust_remote_code"),
        ("eval(text)", "eval"),
    ],
)
def test_the_search_finds_what_it_looks_for(line: str, fault: str) -> None:
    assert faults_of(line, "here.py") == [f"here.py:1 {fault}"]


def test_servers_listen_on_this_machine_only() -> None:
    assert HOST == "127.0.0.1"
    with listening(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    # The two servers, and nothing else, listen; both through this function.
    listens = {
        path.relative_to(ROOT).as_posix()
        for path in files()
        if re.search(r"uvicorn\.|\.listen\(|http\.server|\.launch\(", path.read_text())
    }
    assert listens == {"mixedparts/viewer/server/run.py", "calico/demo/server.py"}
    assert "with listening(port)" in (ROOT / "calico/demo/server.py").read_text()
