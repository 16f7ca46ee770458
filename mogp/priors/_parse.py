"""Priors from text, for command lines and configuration files."""

import ast
import re

from mogp._checks import check_choice
from mogp.priors._prior import (
    GBFRY,
    Bernoulli,
    Beta,
    BetaPareto,
    Deterministic,
    Gamma,
    GeneralizedGamma,
    GroupLasso,
    Horseshoe,
    InverseGamma,
    Prior,
    RegularizedHorseshoe,
    Stable,
)

_BY_NAME: dict[str, type[Prior]] = {
    "iid": Deterministic,
    **{
        kind.__name__.lower(): kind
        for kind in (
            Deterministic,
            GroupLasso,
            InverseGamma,
            Bernoulli,
            Gamma,
            Beta,
            BetaPareto,
            Horseshoe,
            RegularizedHorseshoe,
            Stable,
            GeneralizedGamma,
            GBFRY,
        )
    },
}


def parse(text: str) -> Prior:
    """The prior written as `name` or `name(parameter=number, ...)`.

    Names are those of the classes in lower case, and `iid` for `Deterministic()`.

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
        values = {str(word.arg): float(ast.literal_eval(word.value)) for word in call.keywords}
        if len(values) < len(call.keywords):  # a parameter given twice
            raise ValueError
    except (SyntaxError, ValueError, TypeError):
        raise ValueError(
            f"prior must be written as name or name(parameter=number, ...), got {text!r}"
        ) from None
    check_choice("prior", name, _BY_NAME)
    try:
        return _BY_NAME[name](**values)
    except TypeError as error:
        detail = str(error).split("() ")[-1]
        raise ValueError(f"prior {text!r}: {_BY_NAME[name].__name__} {detail}") from None


def split_names(text: str) -> tuple[str, ...]:
    """Priors between commas, those inside parentheses apart.

    Example:
        >>> from mogp import priors
        >>> priors.split_names("iid, gbfry(alpha=0.5, tau=2)")
        ('iid', 'gbfry(alpha=0.5, tau=2)')
    """
    return tuple(filter(None, map(str.strip, re.split(r",(?![^(]*\))", text))))
