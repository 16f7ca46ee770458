"""Which nodes of a layer stay, and how much of the sum of node variances goes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import gammainc, gammaincc

from mogp._arrays import Real
from mogp._checks import check_count, is_concrete, one_each
from mogp.architecture import AbstractArchitecture
from mogp.levy import LevyMeasure
from mogp.limit.layers import Layer, NumJumps, draw_jumps, numbers_of_jumps
from mogp.priors import Prior
from mogp.pruning._sizes import check_keep, is_real
from mogp.pruning.theory._compressibility import diffuse_lost, draw_sorted, nodes_of

_MOST_JUMPS = 4000  # drawn without being asked for; smaller ones enter by their expected sum


class Rule(NamedTuple):
    """A way to prune, with one number a hidden layer.

    Attributes:
        kind: `"threshold"`, `"keep"` or `"nodes"`.
        values: thresholds, fractions kept or numbers of nodes kept.
    """

    kind: str
    values: tuple[Any, ...]


class Cut(NamedTuple):
    """Draws of the node variances of a layer, pruned.

    Attributes:
        sizes: variances of the nodes looked at one by one, of shape (…, num), decreasing.
        stays: which of them stay, of the same shape.
        gone: sum of all other node variances that go, of shape (…,).
        kept: sum of all other node variances that stay, of shape (…,).
    """

    sizes: Array
    stays: Array
    gone: Array
    kept: Array


class Masses(NamedTuple):
    """Expected sums of the node variances of a layer.

    Attributes:
        gone: of the nodes that go.
        kept: of those that stay; may be infinite.
    """

    gone: Array
    kept: Array


def rule_for(depth: int, threshold: Any, keep: Any, nodes: Any, width: int | None) -> Rule:
    """The rule that is given, checked.

    Raises:
        ValueError: unless exactly one is given, in range, as one number or one a hidden layer.
    """
    given = {"threshold": threshold, "keep": keep, "nodes": nodes}
    named = [(name, value) for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(
            "give one of threshold, keep and nodes, got "
            + (", ".join(name for name, _ in named) or "none of them")
        )
    kind, value = named[0]
    values = one_each(kind, value, depth)
    for each in values:
        if kind == "threshold":
            if is_concrete(each) and not (is_real(each) and 0 <= each < np.inf):
                raise ValueError(f"threshold must be at least 0 and finite, got {each}")
        elif kind == "keep":
            check_keep(each)
        elif check_count("nodes", each) > (each if width is None else width):
            raise ValueError(f"nodes must be at most the width {width}, got {each}")
    return Rule(kind, values)


def mark(rule: Rule, layer: int, sizes: Array, width: int | None) -> Array:
    """Which of the ranked node variances of a layer stay."""
    value, num = rule.values[layer], sizes.shape[-1]
    if rule.kind == "threshold":
        return sizes > value
    if rule.kind == "keep":
        value = num if width is None else nodes_of(value, width)
    return jnp.broadcast_to(jnp.arange(num) < value, sizes.shape)


# --- infinite width -------------------------------------------------------------------------------


def jumps_needed(
    model: AbstractArchitecture,
    layers: Sequence[Layer],
    rule: Rule,
    num_jumps: NumJumps,
    tolerance: float,
) -> tuple[int, ...]:
    """Jumps to draw in every layer: for the kernel, and for what lies on both sides of the cut.

    Raises:
        ValueError: if `num_jumps` is given and too small to tell which nodes stay.
    """
    nums = numbers_of_jumps(layers, model.activation, num_jumps, tolerance)
    wanted = []
    for layer, num, value in zip(layers, nums, rule.values, strict=True):
        if layer.is_gaussian or rule.kind == "keep":
            wanted.append(num)
        elif rule.kind == "nodes":
            if num_jumps is not None and num < value:
                raise ValueError(f"num_jumps must be at least nodes = {value}, got {num_jumps}")
            wanted.append(num if num_jumps is not None else max(num, 4 * value + 64))
        elif num_jumps is not None or not is_concrete(value):
            wanted.append(num)
        else:
            above = min(float(layer.levy.tail(float(value))), _MOST_JUMPS)
            wanted.append(max(num, min(_MOST_JUMPS, int(4 * above) + 64)))
    return tuple(wanted)


def draw_cuts(
    priors: Sequence[Prior],
    layers: Sequence[Layer],
    rule: Rule,
    nums: Sequence[int],
    key: Array,
    shape: int,
) -> tuple[Cut, ...]:
    """Draws of the limit of every layer, pruned.

    Where jumps too small to be drawn stay, as for tiny thresholds, they do so by their expected
    sum given those drawn, and so do those that go.
    """
    cuts = []
    for i, jumps in enumerate(draw_jumps(layers, nums, key, (shape,))):
        layer, value = layers[i], rule.values[i]
        gone = rest = jumps.diffuse
        if rule.kind == "keep":
            gone = jnp.minimum(layer.location * diffuse_lost(priors[i], value), rest)
        elif rule.kind == "threshold":
            gone = jnp.minimum(_below(layer, value), rest)
            if jumps.sizes.shape[-1]:  # the drawn ones below the threshold are not in `diffuse`
                gone = jnp.where(jumps.sizes[:, -1] > value, gone, rest)
        # What goes may be far below the rounding of what stays, and never the other way round.
        cuts.append(Cut(jumps.sizes, mark(rule, i, jumps.sizes, None), gone, rest - gone))
    return tuple(cuts)


def _below(layer: Layer, threshold: Real) -> Array:
    """`a + ∫_0^ε x ρ(dx)`; nothing for the threshold 0, which prunes no network."""
    mass = layer.levy.moment(1.0, threshold) + layer.location
    return jnp.where(jnp.asarray(threshold) > 0, mass, 0)


def expected_masses(prior: Prior, layer: Layer, kind: str, value: Any) -> Masses:
    """What a rule takes from a layer of the limit, and what it leaves, in expectation."""
    levy, a = layer.levy, layer.location
    if layer.is_gaussian and kind == "nodes":
        return Masses(jnp.asarray(a, float), jnp.zeros(()))
    total = levy.moment(1.0)
    if kind == "threshold":
        gone = _below(layer, value)
    elif kind == "keep":
        gone = jnp.asarray(a * diffuse_lost(prior, value))
    else:
        gone = a + mass_after(levy, jnp.asarray(value, float))
    finite = jnp.isfinite(total)
    kept = jnp.maximum(jnp.where(finite, total, 0) + a - gone, 0)
    return Masses(gone, jnp.where(finite, kept, jnp.inf))


def expected_nodes(layer: Layer, kind: str, value: Any) -> Array:
    """Expected number of nodes that stay in a layer of the limit; infinite with a diffuse part."""
    total = jnp.asarray(layer.levy.total_mass, float)
    if kind == "nodes":  # E min(N, J) = N P(J ≥ N) + M P(J ≤ N - 2) of a Poisson number of mean M
        mass, most = jnp.where(jnp.isinf(total), 1, total), float(value)
        fewer = mass * gammaincc(most - 1, mass) if value > 1 else 0
        return jnp.where(jnp.isinf(total), most, most * gammainc(most, mass) + fewer)
    found = layer.levy.tail(value) if kind == "threshold" else total
    whole = kind == "keep" or jnp.asarray(value) == 0
    return jnp.where(whole & (jnp.asarray(layer.location) > 0), jnp.inf, found)


@eqx.filter_jit
def mass_after(measure: LevyMeasure, num: Array) -> Array:
    """`E Σ_(j > num) λ_j = E ∫_0^λ_num x ρ(dx)`, an integral over the `num`-th arrival time.

    Infinite where the largest of these jumps have no mean: `num ≤ 1/τ - 1` for tails of index `τ`.
    """
    heavy = jnp.maximum(1 / jnp.asarray(measure.index_at_infinity, float) - 1, 0)
    power = num - heavy  # of the arrival time, near 0
    safe = jnp.where(power > 0, power, 1)
    # The density of log Γ_num; beyond these ends it is below e^(-40) of its largest value.
    low = jnp.sqrt(80 / safe) + 40 / safe
    w = jnp.linspace(-low, jnp.sqrt(80 / num) + 1e-3, 801)
    weights = jnp.exp(num * (w - jnp.exp(w)))
    weights = weights / jnp.sum(weights)
    mass = jnp.sum(weights * measure.moment(1.0, measure.inverse_tail(num * jnp.exp(w))))
    return jnp.where(power > 0, mass, jnp.inf)


# --- finite width ---------------------------------------------------------------------------------


def draw_finite_cuts(
    priors: Sequence[Prior], rule: Rule, width: int, key: Array, shape: int
) -> tuple[Cut, ...]:
    """Draws of the node variances of networks of a width, pruned."""
    cuts, zero = [], jnp.zeros((shape,))
    for i, (prior, k) in enumerate(zip(priors, jax.random.split(key, len(priors)), strict=True)):
        sizes = draw_sorted(prior, width, k, shape)
        cuts.append(Cut(sizes, mark(rule, i, sizes, width), zero, zero))
    return tuple(cuts)


def drawn_masses(prior: Prior, width: int, cut: Cut) -> Masses:
    """What a cut takes from a layer of finite width, a mean over draws, and what it leaves.

    The two add up to the exact mean of the distribution.

    Raises:
        ValueError: if the distribution does not tell its mean.
    """
    gone = jnp.mean(jnp.sum(jnp.where(cut.stays, 0, cut.sizes), -1))
    law = prior.at_width(width)
    try:
        total = width * jnp.asarray(law.mean, float)
    except NotImplementedError:
        raise ValueError(f"model: bounds of the error need the mean of {law}; define it") from None
    return Masses(gone, jnp.maximum(total - gone, 0))
