"""The repair after a cut, against least squares by NumPy; then real digits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from closeness import X64, assert_close
from pruning_cases import HORSESHOE, X, apply, build, equal, fast_key, mean_square

from mogp import MoGP, datasets, inference, nn, priors, pruning


@pytest.mark.parametrize("kind", ["network", "own layer"])
def test_repair_is_least_squares_of_the_whole_networks_outputs(kind):
    if kind == "network":
        one = MoGP([HORSESHOE], bias_scale=0.7)
        network = one.network(6, 4, 12, init_variances="equal", key=fast_key(5))
    else:
        network = build("own layer")
    cut = pruning.compact(network, 0.3, x_train=X)
    fitted = pruning.compact(network, 0.3, x_train=X, repair=True, ridge=1e-10 if X64 else 1e-6)
    design = np.array(cut.design(X))
    best = np.linalg.lstsq(design, np.array(apply(network)), rcond=None)[0]
    assert_close(apply(fitted), design @ best, rtol=1e-4, atol=1e-5)


def test_repair_without_biases_leaves_them_alone_and_blocks_do_not_matter():
    deep = MoGP([HORSESHOE] * 2)
    network = deep.network(6, 4, (12, 9), init_variances="equal", key=jax.random.key(6))
    many = jax.random.normal(jax.random.key(7), (4321, 6))
    small = pruning.compact(network, 0.4, x_train=many, repair=True)
    cut = pruning.compact(network, 0.4, x_train=many)
    assert_close(small.biases[-1], cut.biases[-1], rtol=1e-12)
    errors = [mean_square(apply(n, many), apply(network, many)) for n in (small, cut)]
    assert errors[0] < errors[1] * (0.5 if X64 else 0.8)  # other networks in single precision
    order = np.random.default_rng(8).permutation(4321)
    again = pruning.compact(network, 0.4, x_train=many[order], repair=True)
    assert_close(again.weights[-1], small.weights[-1], rtol=1e-6, atol=1e-8 if X64 else 1e-3)


def test_with_too_few_rows_the_repair_changes_little():
    """One row, and what it does not see stays: nothing becomes large or NaN."""
    network = equal()
    small = pruning.compact(network, 0.4, x_train=X[:1], repair=True)
    assert_close(apply(small, X[:1]), apply(network, X[:1]), rtol=1e-2, atol=1e-2)
    assert np.isfinite(apply(small)).all()
    assert max(float(np.abs(w).max()) for w in small.weights) < 20


def test_a_layer_that_cannot_be_repaired_says_what_it_lacks():
    class Fixed(nn.AbstractNodes):
        weights: jax.Array
        log_variances: jax.Array
        prior: priors.Prior
        prior_width: int

        def __call__(self, x):
            return x @ self.weights

        def outgoing(self):
            return self.weights

        def with_outgoing(self, weights):  # noqa: ARG002
            return self

        def take(self, kept):
            return self.take_fields(kept, "weights")

        def contributions(self, x):  # noqa: ARG002
            return jnp.ones(self.number)

    layer = Fixed(jnp.ones((6, 4)), jnp.zeros(6), priors.Horseshoe(), 6)
    with pytest.raises(ValueError, match="repair needs Fixed to define design and refitted"):
        pruning.compact(layer, 1.0, importance="norm", repair=True, x_train=X)


# --- digits -----------------------------------------------------------------------------------


def _trained(start, data, epochs, temperature, rate):
    steps = len(data.x_train) // 50
    schedule = optax.piecewise_constant_schedule(
        rate, {steps * epochs // 5: 0.5, 2 * steps * epochs // 5: 0.2}
    )
    result = inference.fit(
        start, data.x_train, data.y_train, key=jax.random.key(1), num_epochs=epochs, batch_size=50,
        optimizer=optax.adam(schedule), prior_temperature=temperature, progress=False,
    )  # fmt: skip
    return result.model


@pytest.mark.statistical
def test_digits_pruned_come_near_a_network_trained_at_the_small_size():
    """At 5 % without retraining, at 2 % with two epochs; 200 nodes in each of two hidden layers.

    The better of two starts of the small network is the bound: networks of ten nodes and fewer
    often end in a poor minimum. At 1 %, two nodes, 56 steps of training are too few for this.
    """
    data = datasets.load("digits")
    model = MoGP([HORSESHOE] * 2, bias_scale=1.0)
    start = model.network(64, 10, 200, init_variances="equal", key=jax.random.key(0))
    whole = _trained(start, data, 60, 5.0, 1e-2)

    def accuracy(network):
        return float(inference.evaluate(network, data.x_test, data.y_test).accuracy)

    def bound(width):
        small = MoGP([priors.Deterministic()] * 2, bias_scale=1.0)
        starts = [
            small.network(64, 10, width, init_variances="equal", key=jax.random.key(s))
            for s in (0, 1)
        ]
        return max(accuracy(_trained(start, data, 60, np.inf, 1e-2)) for start in starts)

    def cut(keep):
        return pruning.compact(whole, keep, repair=True, x_train=data.x_train)

    assert accuracy(whole) > 0.95
    assert accuracy(cut(0.05)) > bound(10) - 0.01
    assert accuracy(_trained(cut(0.02), data, 2, np.inf, 1e-2)) > bound(4) - 0.01
