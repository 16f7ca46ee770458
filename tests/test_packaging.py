"""The package as it is installed: imports, declared dependencies, examples in docstrings."""

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mogp

ROOT = Path(__file__).parent.parent
MODULES = ["mogp", *(module.name for module in pkgutil.walk_packages(mogp.__path__, "mogp."))]
IMPORT_NAMES = {"scikit-learn": "sklearn", "h5py": None, "pytest-xdist": None, "filelock": None}
# h5netcdf reads and writes with h5py, pytest-xdist is a plugin, JAX's cache needs filelock: nothing
# here imports them by name.


def imported_names(folder):
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    names |= set(
        re.findall(r'engine="(\w+)"', "".join(p.read_text() for p in folder.rglob("*.py")))
    )
    return names


@pytest.mark.parametrize("extra", [None, "test"])
def test_every_declared_dependency_is_imported(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["optional-dependencies"][extra] if extra else project["dependencies"]
    names = [re.match(r"[\w-]+", requirement).group() for requirement in declared]
    used = imported_names(ROOT / "tests" if extra else ROOT / "mogp")
    for name in names:
        module = IMPORT_NAMES.get(name, name.replace("-", "_"))
        assert module is None or module in used, f"{name} is declared and never imported"


def test_nothing_undeclared_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"] + project["optional-dependencies"]["gpjax"]
    declared = {re.match(r"[\w-]+", r).group().replace("-", "_") for r in needed}
    declared |= {"sklearn", "mogp"} | set(sys.stdlib_module_names)
    assert imported_names(ROOT / "mogp") <= declared


def test_importing_sets_no_flag_allocates_nothing_and_warns_of_nothing():
    script = (
        "import jax; before = dict(jax.config.values); import mogp; "
        "assert dict(jax.config.values) == before, 'a flag changed'; "
        "assert not jax.live_arrays(), jax.live_arrays()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    if name == "mogp.__main__":
        pytest.skip("running it is the command itself, tested in test_compare.py")
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_public_names_are_sorted_and_there():
    for name in MODULES:
        if "._" not in name:
            module = importlib.import_module(name)
            for public in getattr(module, "__all__", []):
                assert hasattr(module, public)
                assert public == "__version__" or not public.startswith("_")


def test_the_example_of_the_readme_runs():
    """Its ten lines, with fewer epochs."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    scope = {}
    exec(code.replace("num_epochs=60", "num_epochs=2").replace("1680", "56"), scope)
    assert scope["small"].widths == (40, 40)
    assert scope["curve"].accuracy[0] > 0.5
