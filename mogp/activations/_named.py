"""The activations that have a name."""

from mogp.activations._activation import Activation, Quadrature
from mogp.activations._piecewise import Identity, LeakyReLU, ReLU
from mogp.activations._smooth import GELU, Erf, Tanh
from mogp.activations.quadrature import Scalar

relu = ReLU()
leaky_relu = LeakyReLU()
erf = Erf()
identity = Identity()
gelu = GELU()
tanh = Tanh()

_BY_NAME: dict[str, Activation] = {
    "relu": relu,
    "leaky_relu": leaky_relu,
    "erf": erf,
    "identity": identity,
    "gelu": gelu,
    "tanh": tanh,
}


def get(activation: str | Activation | Scalar) -> Activation:
    """The activation that a name, a function or an `Activation` stands for.

    Args:
        activation: one of `"relu"`, `"leaky_relu"`, `"erf"`, `"identity"`, `"gelu"`, `"tanh"`; an
            `Activation`; or a smooth elementwise function.

    Returns:
        An `Activation`: the argument itself if it is one, and a `Quadrature` for a function.

    Raises:
        ValueError: if the name is unknown, or the argument cannot be called.

    Example:
        >>> from mogp import activations
        >>> float(activations.get("relu").second_moment(2.0))
        1.0
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation in _BY_NAME:
            return _BY_NAME[activation]
        raise ValueError(f"activation must be one of {sorted(_BY_NAME)}, got {activation!r}")
    if callable(activation):
        return Quadrature(activation)
    raise ValueError(f"activation must be a name, a function or an Activation, got {activation!r}")
