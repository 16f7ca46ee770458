"""The examples in docstrings run, show what they say, and shapes are as annotated."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mogp

pytestmark = pytest.mark.commands
HOUSE = Path(mogp.__file__).parent
ROOMS = sorted(
    path.stem
    for path in HOUSE.iterdir()
    if (path.is_dir() and path.name != "__pycache__")
    or (path.suffix == ".py" and path.name != "__main__.py")  # importing that runs the command
)


# Commands have no arrays, and a parameter whose default is `inspect.Parameter.empty`, which the
# checker takes for none.
CHECKED = ",".join(f"mogp.{room}" for room in ROOMS if room != "app")


def examples(source, packages=CHECKED):
    """Run the examples in a process of its own: shapes are checked from the first import on."""
    path = (str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
    options = f"--doctest-modules --jaxtyping-packages={packages},shapes.check -n 0 -q"
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options.split(), "-p", "no:cacheprovider", source],
        capture_output=True,
        text=True,
        check=False,
        env={"JAX_ENABLE_X64": "1"} | os.environ | {"PYTHONPATH": os.pathsep.join(path)},
    )


@pytest.mark.parametrize("room", ROOMS)
def test_examples_in_docstrings(room):
    done = examples(next(HOUSE.glob(f"{room}*")))
    none_found = 5
    assert done.returncode in (0, none_found), done.stdout[-6000:] + done.stderr[-2000:]


def test_a_false_shape_is_found(tmp_path):
    (tmp_path / "crooked.py").write_text('''
import jax.numpy as jnp
from jaxtyping import Array, Float

def twice(x: Float[Array, "n d"]) -> Float[Array, "d n"]:
    """Example:
        >>> twice(jnp.ones((2, 3))).shape
        (2, 3)
    """
    return 2 * x
''')
    done = examples(tmp_path / "crooked.py", "crooked")
    assert "TypeCheckError" in done.stdout
    assert done.returncode == 1
