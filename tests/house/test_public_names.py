"""Every public name: listed in order, documented as the house wants it."""

import importlib
import inspect
import pkgutil

import pytest

import mogp

MODULES = ["mogp", *(module.name for module in pkgutil.walk_packages(mogp.__path__, "mogp."))]
PUBLIC = [name for name in MODULES if "._" not in name and ".__" not in name]
ROOMS = [name for name in PUBLIC if name.count(".") == 1 and name != "mogp.app"]


def members():
    """Public functions and classes of the rooms, each once."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            kind = inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value))
            if kind and getattr(value, "__module__", "").startswith("mogp."):
                found.setdefault(id(value), pytest.param(value, id=f"{room}.{name}"))
    return list(found.values())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_sorted_and_there(name):
    module = importlib.import_module(name)
    names = module.__all__
    assert list(names) == sorted(names)
    assert len(set(names)) == len(names)
    for public in names:
        assert hasattr(module, public)
        assert public == "__version__" or not public.startswith("_")


@pytest.mark.parametrize("value", members())
def test_public_names_are_documented(value):
    """Arguments, returns and errors where there are any, and an example.

    Named tuples and abstract classes need no example, nor do modules that others make and that
    say what their fields are.
    """
    text = inspect.getdoc(value) or ""
    assert text, "no docstring"
    first = text.split("\n")[0]
    assert first.endswith((".", "):", "`")), first
    is_class = inspect.isclass(value)
    if is_class and (issubclass(value, tuple) or inspect.isabstract(value)):
        return
    assert "Example:" in text or (is_class and "Attributes:" in text), "no example"
    if is_class:
        return
    function = inspect.unwrap(value)
    signature = inspect.signature(function)
    if signature.parameters:
        assert "Args:" in text, "no section Args"
        for parameter in signature.parameters:
            assert f"{parameter}:" in text, f"{parameter} is not described"
    if signature.return_annotation not in (None, "None", inspect.Signature.empty):
        assert "Returns:" in text, "no section Returns"
    if "raise " in (source := inspect.getsource(function)) or "check_" in source:
        assert "Raises:" in text, "no section Raises"
