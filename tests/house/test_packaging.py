"""The package as it is installed: what is imported, what is declared, what an import costs."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMPORT_NAMES = {
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "h5py": None,
    "pytest-xdist": None,
    "filelock": None,
}
# h5netcdf reads and writes with h5py, pytest-xdist is a plugin, JAX's cache needs filelock: nothing
# here imports them by name.
HEAVY = {"arviz_base", "arviz_stats", "matplotlib", "pandas", "sklearn", "xarray"}


def imported_names(folder):
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    text = "".join(path.read_text() for path in folder.rglob("*.py"))
    return names | set(re.findall(r'engine="(\w+)"', text))


def run(script, *options):
    command = [sys.executable, *options, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("extra", [None, "test"])
def test_every_declared_dependency_is_imported(extra):
    declared = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    names = [re.match(r"[\w-]+", requirement).group() for requirement in declared]
    used = imported_names(ROOT / "tests" if extra else ROOT / "mogp")
    for name in names:
        module = IMPORT_NAMES.get(name, name.replace("-", "_"))
        assert module is None or module in used, f"{name} is declared and never imported"


def test_nothing_undeclared_is_imported():
    needed = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["gpjax"]
    declared = {re.match(r"[\w-]+", r).group().replace("-", "_") for r in needed}
    declared |= {"PIL", "sklearn", "mogp"} | set(sys.stdlib_module_names)
    assert imported_names(ROOT / "mogp") <= declared


def test_importing_sets_no_flag_allocates_nothing_and_warns_of_nothing():
    script = (
        "import jax; before = dict(jax.config.values); import mogp\n"
        "from mogp import MoGP, activations, inference, levy, limit, nn, priors, pruning\n"
        "assert dict(jax.config.values) == before, 'a flag changed'\n"
        "assert not jax.live_arrays(), jax.live_arrays()"
    )
    done = run(script, "-W", "error")
    assert done.returncode == 0, done.stderr


def test_the_rooms_of_the_mathematics_load_no_tables_no_pictures_and_no_statistics():
    script = (
        "import sys\n"
        "from mogp import MoGP, activations, inference, levy, limit, nn, priors, pruning\n"
        f"found = {HEAVY} & set(sys.modules); assert not found, found"
    )
    done = run(script)
    assert done.returncode == 0, done.stderr
