"""The examples in docstrings run, and show what they say."""

import doctest
import importlib
import pkgutil

import pytest

import mogp

pytestmark = pytest.mark.commands
MODULES = [
    module.name
    for module in pkgutil.walk_packages(mogp.__path__, "mogp.")
    if module.name != "mogp.__main__"  # importing it runs the command
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
