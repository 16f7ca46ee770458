"""Priors from text, for command lines and configuration files."""

import ast
import math
import re

from mogp._checks import check_choice
from mogp.priors import _families as families
from mogp.priors._prior import Prior

# Every prior whose parameters are numbers.
_BY_NAME: dict[str, type[Prior]] = {"iid": families.Deterministic} | {
    name.lower(): kind
    for name, kind in vars(families).items()
    if isinstance(kind, type) and issubclass(kind, Prior) and kind.__module__ == families.__name__
}
_BY_NAME.pop("spikeandslab")  # its slab is a distribution


def parse(text: str) -> Prior:
    """The prior that a text such as `name` or `name(parameter=number, ...)` stands for.

    Args:
        text: names are those of the classes, in any case, and `iid` for `Deterministic()`.

    Returns:
        The prior.

    Raises:
        ValueError: for an unknown name, unknown or missing parameters, values out of range, or text
            of another form.

    Example:
        >>> from mogp import priors
        >>> priors.parse("gbfry(alpha=0.5, tau=2)")
        GBFRY(alpha=0.5, tau=2.0)
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        if not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        name = call.func.id.lower()
        values = {str(word.arg): _number(word.value) for word in call.keywords}
        if len(values) < len(call.keywords):  # a parameter given twice
            raise ValueError
    except (AttributeError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        shown = repr(text) if len(repr(text)) < 200 else f"{repr(text)[:60]} …"
        raise ValueError(
            f"prior must be written as name or name(parameter=number, ...), got {shown}"
        ) from None
    check_choice("prior", name, _BY_NAME)
    try:
        return _BY_NAME[name](**values)
    except TypeError as error:
        detail = str(error).split("() ")[-1]
        raise ValueError(f"prior {text!r}: {_BY_NAME[name].__name__} {detail}") from None


def _number(node: ast.expr) -> float:
    value = ast.literal_eval(node)
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf if value > 0 else -math.inf


def split_names(text: str) -> tuple[str, ...]:
    """The parts of a list of priors, split at commas and semicolons outside parentheses.

    Args:
        text: names of priors, as `parse` reads them, between commas or semicolons.

    Returns:
        The names, without spaces around them.

    Example:
        >>> from mogp import priors
        >>> priors.split_names("iid, gbfry(alpha=0.5, tau=2)")
        ('iid', 'gbfry(alpha=0.5, tau=2)')
    """
    return tuple(filter(None, map(str.strip, re.split(r"[,;](?![^(]*\))", text))))
