"""How distributions and priors are printed: by name and parameters."""

from typing import Any

import equinox as eqx
import numpy as np
from numpyro.distributions import Distribution

from mogp._checks import is_concrete


def show(value: Any, names: tuple[str, ...] | None = None) -> str:
    """`Name(parameter=value, …)`; arrays with axes and tracers by their shape.

    Args:
        value: a distribution, whose parameters are shown; another object, where names are given;
            or a parameter.
        names: the attributes to show; of a distribution, by default those that it was made with.
    """
    if isinstance(value, Distribution) and names is None:
        kind = type(value)
        made = (*kind.arg_constraints, *kind.pytree_data_fields, *kind.pytree_aux_fields)
        held = (name for name in dict.fromkeys(made) if name in vars(value))
        names = tuple(name for name in held if not name.startswith("_"))
    if names is not None:
        shown = (f"{name}={show(getattr(value, name))}" for name in names)
        return f"{type(value).__name__}({', '.join(shown)})"
    if np.ndim(value) == 0 and hasattr(value, "dtype") and is_concrete(value):
        return f"{value.item():.6g}"
    return repr(value) if isinstance(value, float | int) else eqx.tree_pformat(value)
