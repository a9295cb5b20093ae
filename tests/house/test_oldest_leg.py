"""`make test-oldest` installs the very lower bounds of pyproject.toml, and its tests exist."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
RECORDED = {"numpy", "opencv-python", "pillow", "pyarrow", "pycocotools", "datasets"}


def variable(name: str) -> list[str]:
    """Return the words of a variable as make expands it."""
    rule = f"show:\n\t@echo $({name})\n"
    command = ["make", "--no-print-directory", "-f", "Makefile", "-f", "-", "show"]
    done = subprocess.run(
        command, input=rule, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


def test_pins_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["train"]]
    bounds = {}
    for requirement in map(Requirement, lines):
        least = [one.version for one in requirement.specifier if one.operator == ">="]
        bounds[requirement.name.lower()] = Version(least[0]) if least else None
    pins = dict(pin.split("==") for pin in variable("OLDEST"))
    assert set(pins) >= RECORDED | {"transformers", "peft"}
    assert {name: Version(pin) for name, pin in pins.items()} == {
        name: bounds[name] for name in pins
    }


def test_its_tests_exist_and_hold_the_recorded_values() -> None:
    paths = [ROOT / word for word in variable("OLDEST_TESTS")]
    assert all(path.exists() for path in paths)
    files = {f for path in paths for f in (path.rglob("test_*.py") if path.is_dir() else [path])}
    recorded = {
        path
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"== \"[0-9a-f]{16}\"", path.read_text("utf-8"))
    }
    assert recorded, "digests of recorded values"
    assert recorded <= files
