"""Activations and their Gaussian expectations.

The infinite-width kernels and the Gaussian-mixture layers need the same few integrals of an
activation `φ` against Gaussian laws. Write `z = m + s ε` with `ε ~ N(0, 1)`, and `(u, v)` for a
centred Gaussian pair with covariance `[[k11, k12], [k12, k22]]`. Every activation offers

| method | meaning |
|---|---|
| `mean(m, s)` | `E φ(m + s ε)` |
| `slope(m, s)` | `E φ'(m + s ε)` |
| `kernel(k11, k12, k22)` | `E φ(u) φ(v)` |
| `derivative_kernel(k11, k12, k22)` | `E φ'(u) φ'(v)` |
| `square_kernel(k11, k12, k22)` | `E φ(u)² φ(v)²` |
| `second_moment(k)` | `E φ(u)²`, `u ~ N(0, k)` |
| `abs_moment(k, q)` | `E |φ(u)|^q`, `u ~ N(0, k)` |

All are elementwise, differentiable and keep the precision of their arguments. Degenerate
arguments (`s = 0`, `u = v`, `u = -v`, zero variance) give the exact limit and finite gradients;
where the true derivative is infinite, or does not exist, the gradient is that of the other terms.

Other rooms import the quadrature rules from `mogp.activations.quadrature`.
"""

from mogp.activations._activation import Activation, Quadrature
from mogp.activations._named import erf, gelu, get, identity, leaky_relu, relu, tanh
from mogp.activations._piecewise import Identity, LeakyReLU, ReLU
from mogp.activations._smooth import GELU, Erf, Tanh

__all__ = [
    "Activation",
    "Erf",
    "GELU",
    "Identity",
    "LeakyReLU",
    "Quadrature",
    "ReLU",
    "Tanh",
    "erf",
    "gelu",
    "get",
    "identity",
    "leaky_relu",
    "relu",
    "tanh",
]
