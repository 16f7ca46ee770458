"""Different optimisers for different parameters."""

from typing import Any

import jax
import optax
from optax import GradientTransformation


def per_parameter(
    default: GradientTransformation, **by_name: GradientTransformation
) -> GradientTransformation:
    """An optimiser that treats parameters by the name of their field.

    Args:
        default: the Optax transformation for everything not named.
        **by_name: field name = transformation. A name may be that of an array (`scales`), of a
            module that holds arrays, or of a parameter of the likelihood that `fit` learns
            (`noise_scale`); the innermost name wins. `optax.set_to_zero()` freezes.

    Returns:
        An Optax transformation.

    Raises:
        ValueError: in `init` of the result, for a name that the parameters do not have.

    Example:
        >>> import optax
        >>> from mogp import inference
        >>> optimizer = inference.per_parameter(optax.sgd(0.1), scales=optax.sgd(1.0))
    """

    def labels(parameters: Any) -> Any:
        seen: set[str] = set()

        def label(path: tuple[Any, ...], _: Any) -> str:
            found = (getattr(entry, "name", getattr(entry, "key", None)) for entry in path)
            names = [name for name in found if isinstance(name, str)]
            seen.update(names)
            return next((name for name in reversed(names) if name in by_name), "")

        result = jax.tree_util.tree_map_with_path(label, parameters)
        if unknown := set(by_name) - seen:
            raise ValueError(
                f"per_parameter: no parameter is called {sorted(unknown)}, there are {sorted(seen)}"
            )
        return result

    return optax.partition({"": default, **by_name}, labels)
