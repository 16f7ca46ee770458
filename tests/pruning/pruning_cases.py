"""Networks that are pruned: ours, others' and mixed ones, all with inputs (n, 6) and 4 outputs."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from own_layers import RepairedBumps
from scipy.special import log_softmax

from mogp import MoGP, inference, nn, priors

HORSESHOE = priors.Horseshoe()
MODEL = MoGP([HORSESHOE] * 2, bias_scale=0.7)
WIDTHS = (12, 9)
X = jax.random.normal(jax.random.key(1), (64, 6))
Y = jax.random.randint(jax.random.key(2), (64,), 0, 4)


class Plain(priors.Prior):
    """A prior that is not ours: a NumPyro distribution, and no limit."""

    def law(self, width):
        return dist.HalfNormal(1.0 / width)


def mlp(key, init_variances="prior"):
    return MODEL.network(6, 4, WIDTHS, init_variances=init_variances, key=key)


def own(key, in_size=6, out_size=4, number=10):
    keys, prior = jax.random.split(key, 3), Plain()
    return RepairedBumps(
        jax.random.normal(keys[0], (number, in_size)),
        jax.random.normal(keys[1], (number, out_size)),
        nn.start_variances(prior, number, "prior", key=keys[2]),
        prior,
        number,
    )


def mixture(covariance):
    def build(key):
        return nn.GMLayer(6, 4, 7, prior=HORSESHOE, covariance=covariance, key=key)

    return build


def sequence(key):
    """A network of two hidden layers, an activation, a linear map, and bumps at the end."""
    keys = jax.random.split(key, 2)
    layers = [mlp(keys[0]), eqx.nn.Lambda(jnp.tanh), own(keys[1], in_size=4)]
    return eqx.nn.Sequential(layers)


BUILDERS = {
    "network": mlp,
    "diagonal": mixture("diagonal"),
    "low rank": mixture("low_rank"),
    "full": mixture("full"),
    "own layer": own,
    "sequence": sequence,
}


_BUILD = {name: eqx.filter_jit(builder) for name, builder in BUILDERS.items()}

# Everything is built and called as one compiled function: a single operation takes as long. Keys
# are of the generator that compiles in a tenth of the time of the usual one.


def fast_key(seed):
    return jax.random.key(seed, impl="rbg")


@functools.cache
def build(name, seed=3):
    """The network of a name."""
    return _BUILD[name](fast_key(seed))


def equal(seed=0):
    """Two hidden layers with equal node variances."""
    return eqx.filter_jit(mlp)(jax.random.key(seed), "equal")


def stack_of(name, num, seed=2):
    """Several networks with a leading axis."""
    alone = [_BUILD[name](fast_key(seed + i)) for i in range(num)]
    return stacked(alone)


def stacked(networks):
    """Networks of one form as one with a leading axis, made in NumPy."""
    arrays, static = zip(*(eqx.partition(n, eqx.is_array) for n in networks), strict=True)
    together = jax.tree.map(lambda *a: jnp.asarray(np.stack([np.asarray(b) for b in a])), *arrays)
    return eqx.combine(together, static[0])


@eqx.filter_jit
def apply(network, x=X):
    """Outputs of a network."""
    return network(x)


def score(network, x, y):
    """Accuracy and mean negative log-likelihood, written down."""
    logits, y = np.asarray(apply(network, x)), np.asarray(y)
    nll = -np.mean(log_softmax(logits, axis=1)[np.arange(len(y)), y])
    return inference.Scores(np.mean(logits.argmax(1) == y), nll)


def one_of(stack, *place):
    """The network at a place of a stack."""
    return jax.tree.map(
        lambda a: jnp.asarray(np.asarray(a)[place]) if eqx.is_array(a) else a, stack
    )


def logs(network):
    return [np.asarray(layer.log_variances) for layer in nn.nodes(network)]


def kept_of(network, small):
    """Which nodes of a network are those of a smaller one, by their variances."""
    return [np.isin(u, v) for u, v in zip(logs(network), logs(small), strict=True)]


def masked(network, kept):
    """The network without the other nodes, written down."""
    new = [jnp.asarray(np.where(k, u, -np.inf)) for k, u in zip(kept, logs(network), strict=True)]
    return nn.with_log_variances(network, new)


def mean_square(a, b):
    return float(np.mean((np.asarray(a) - np.asarray(b)) ** 2))
