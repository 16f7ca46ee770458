"""The Python blocks of README and of every page of the documentation run."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.commands
ROOT = Path(__file__).parents[2]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [path for path in FILES if "```python" in path.read_text()]
# What makes blocks of the pages quick here; the numbers on the pages come from the blocks as shown.
SMALLER = {
    "num_epochs=60": "num_epochs=2",
    "1680": "56",
    "num_epochs=4000": "num_epochs=40",
    "samples_per_cycle=1200": "samples_per_cycle=12",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_blocks_of_a_page(page, tmp_path, monkeypatch):
    """The Python blocks of a page, one after the other, as a reader would paste them."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    scope = {"__name__": "__main__"}
    for code in blocks:
        for shown, run in SMALLER.items():
            code = code.replace(shown, run)
        exec(compile(code, page.name, "exec"), scope)
    if page.name == "README.md":
        assert scope["small"].widths == (40, 40)
        assert scope["curve"].accuracy[0] > 0.5
