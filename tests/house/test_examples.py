"""What users copy runs: docstrings, README, every page of the documentation, every example."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mogp

pytestmark = pytest.mark.commands
ROOT = Path(__file__).parents[2]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(mogp.__path__, "mogp.")
    if module.name != "mogp.__main__"  # importing it runs the command
]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What makes blocks of the pages quick here; the numbers on the pages come from the blocks as shown.
SMALLER = {
    "num_epochs=60": "num_epochs=2",
    "1680": "56",
    "num_epochs=4000": "num_epochs=40",
    "samples_per_cycle=1200": "samples_per_cycle=12",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_blocks_of_a_page(page, tmp_path, monkeypatch):
    """The Python blocks of a page, one after the other, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    scope = {"__name__": "__main__"}
    for code in blocks:
        for shown, run in SMALLER.items():
            code = code.replace(shown, run)
        exec(compile(code, page.name, "exec"), scope)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_in_quick_mode(path, tmp_path):
    """It prints what it shows and writes a figure, in a process of its own as users run it."""
    command = [sys.executable, "-W", "error", str(path), "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout), "nothing was printed"
    figures = list(tmp_path.rglob("*.png"))
    assert figures
    assert all(figure.stat().st_size > 5000 for figure in figures)
