"""Different optimisers for different parameters."""

from typing import Any

import optax
from optax import GradientTransformation

from mogp.inference._data import by_field


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
        return by_field("per_parameter", parameters, {name: name for name in by_name}, "")

    return optax.partition({"": default, **by_name}, labels)
