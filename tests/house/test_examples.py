"""Every example runs, prints what it shows and writes a figure."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

pytestmark = pytest.mark.commands
ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_in_quick_mode(path, tmp_path):
    """It prints what it shows and writes a figure, in a process of its own as users run it."""
    command = [sys.executable, "-W", "error", str(path), "--quick", "--out", str(tmp_path)]
    compiled = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or ""}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | compiled,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d", done.stdout), "nothing was printed"
    figures = list(tmp_path.rglob("*.png"))
    assert figures
    assert all(figure.stat().st_size > 5000 for figure in figures)
