"""Experiments under the prior, without data: the simulations of [DW] beside our predictions."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from mogp import priors, pruning
from mogp._checks import check_choice, check_count
from mogp.architecture import MoGP
from mogp.compare import check_writable
from mogp.experiments import theory_plots
from mogp.experiments._write import write

ALPHAS = (0.1, 0.3, 0.5, 0.8)
TAU = 5.0
OUTPUTS = 10
DEPENDENCE = ("iid", "gamma(mass=1)", "gbfry(alpha=0.5, tau=2)", "horseshoe")


@dataclass(frozen=True)
class Settings:
    """Everything that determines an experiment.

    Attributes:
        name: one of `EXPERIMENTS`.
        width: nodes in a hidden layer, the most for `prior-dependence`.
        depths: numbers of hidden layers, for `truncation-error`.
        seeds: networks of every kind.
        samples: draws from the limit.
        seed: of everything random.
    """

    name: str
    width: int = 500
    depths: tuple[int, ...] = (1, 2)
    seeds: int = 20
    samples: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("name", self.name, EXPERIMENTS)
        for name in ("width", "seeds", "samples"):
            check_count(name, getattr(self, name))


def settings_for(name: str, scale: str) -> Settings:
    """`"small"`: width 500 and two depths. `"paper"`: width 2000, depths up to 4."""
    check_choice("scale", scale, ("small", "paper"))
    if scale == "paper":
        return Settings(name, width=2000, depths=(1, 2, 3, 4), seeds=40)
    return Settings(name)


def run(settings: Settings, out: Path, *, progress: bool = True) -> xr.DataTree:
    """Simulate, predict, and write `NAME.nc` and `NAME.png`, each file whole or not at all.

    Args:
        settings: what to do.
        out: folder for the results, made if it does not exist.
        progress: show a progress bar.

    Returns:
        One group for each `α` and depth, or for each prior.

    Raises:
        ValueError: if the folder cannot be written to.
    """
    check_writable(out)
    experiment, plot = EXPERIMENTS[settings.name]
    groups = experiment(settings, progress)
    return write(settings, out, groups, plot(list(groups.values())))


# --- truncation error -----------------------------------------------------------------------------


def prior_for(alpha: float) -> priors.Prior:
    """The prior of `truncation-error`."""
    return priors.GBFRY(jnp.asarray(alpha, float), TAU)  # an array is not compiled in


def _truncation(settings: Settings, progress: bool) -> dict[str, xr.Dataset]:
    """Errors of ε-pruning: of networks, predicted at their width, and in the limit.

    The range has 2 to a quarter of the nodes above the threshold, and no `ε` below 1e-7.
    """
    groups, x, width = {}, jnp.ones((1, 1)), settings.width
    for alpha in tqdm(ALPHAS, "truncation-error", disable=not progress):
        prior = prior_for(alpha)
        levy = prior.limit.levy
        ends = np.asarray(levy.inverse_tail(jnp.asarray([width / 4, 2.0])), float)
        thresholds = np.geomspace(max(ends[0], 1e-7), ends[1], 8)
        for depth in settings.depths:
            model, key = MoGP([prior] * depth), jax.random.key(settings.seed)
            measured, sizes = [], []
            for k in jax.random.split(key, settings.seeds):
                errors, ranked = _measure(model, width, x, jnp.asarray(thresholds), k)
                measured.append(np.asarray(errors))
                sizes.append(np.asarray(ranked))
            predicted = _predict(model, thresholds, x, settings, None)
            finite = _predict(model, thresholds, x, settings, width)
            rank = np.unique(np.geomspace(1, width, 60).astype(int))
            ranks = jnp.asarray(rank, float)
            dataset = xr.Dataset(
                {
                    "measured": (("seed", "threshold"), np.stack(measured)),
                    "limit": (("draw", "threshold"), predicted),
                    "finite": (("draw_finite", "threshold"), finite),
                    "ranked": (("seed", "rank"), np.stack(sizes)[:, rank - 1]),
                    "expected": ("rank", np.asarray(levy.inverse_tail(ranks - 1 / 3))),
                    "power_law": ("rank", np.asarray(pruning.power_law(levy, ranks))),
                },
                {"threshold": thresholds, "rank": rank},
                _slopes(thresholds, measured=np.stack(measured), finite=finite, limit=predicted),
            )
            label = f"α={alpha}, {depth} hidden layer{'s' if depth > 1 else ''}"
            slope = float(pruning.slopes(prior).threshold)
            groups[label] = dataset.assign_attrs(
                label=label, alpha=alpha, depth=depth, width=width, slope=slope
            )
    return groups


@eqx.filter_jit
def _measure(
    model: MoGP, width: int, x: Array, thresholds: Array, key: Array
) -> tuple[Array, Array]:
    """Relative errors of one network at each threshold, and its first layer's ranked variances."""
    network = model.network(x.shape[1], OUTPUTS, width, key=key)
    whole = network(x)

    def at(threshold: Array) -> Array:
        kept = tuple(jnp.exp(u) > threshold for u in network.log_variances)
        return jnp.mean((whole - pruning.mask(network, kept)(x)) ** 2) / jnp.mean(whole**2)

    return jax.lax.map(at, thresholds), -jnp.sort(-jnp.exp(network.log_variances[0]))


def _predict(
    model: MoGP, thresholds: np.ndarray, x: Array, settings: Settings, width: int | None
) -> np.ndarray:
    """Draws of the relative error, of shape (samples, thresholds), in the limit or at a width."""
    jumps, samples = (250, settings.samples) if width is None else (None, settings.samples // 2)
    found = [
        pruning.error(model, float(e), x, key=jax.random.key(settings.seed + 1), width=width,
                      num_jumps=jumps, num_samples=samples, num_outputs=OUTPUTS)
        for e in thresholds
    ]  # fmt: skip
    return np.stack([np.asarray(each.relative) for each in found], 1)


def _slopes(thresholds: np.ndarray, **errors: np.ndarray) -> dict[str, float]:
    """Slopes of the mean logarithm of the error against that of the threshold, with errors."""
    v = np.log(thresholds) - np.mean(np.log(thresholds))
    attributes = {}
    for name, values in errors.items():
        each = np.log(np.maximum(values, 1e-30)) @ v / (v @ v)
        attributes[f"{name}_slope"] = float(each.mean())
        attributes[f"{name}_slope_error"] = float(each.std() / np.sqrt(len(each)))
    return attributes


# --- dependence -----------------------------------------------------------------------------------


def _dependence(settings: Settings, progress: bool) -> dict[str, xr.Dataset]:
    """One hidden layer, an input with `‖x‖² = d`, two outputs, at widths and in the limit."""
    widths = np.unique(np.geomspace(10, settings.width, 4).astype(int))
    groups, num = {}, 100 * settings.samples
    share = np.geomspace(1e-2, 1, 25)
    for text in tqdm(DEPENDENCE, "prior-dependence", disable=not progress):
        prior = priors.parse(text)
        by_limit, by_width = jax.random.split(jax.random.key(settings.seed))
        limit = np.asarray(
            MoGP([prior]).sample_prior(
                jnp.ones((1, 1)), key=by_limit, num_samples=num, num_outputs=2, num_jumps=60
            )[:, 0]
        )
        pairs, largest = [], []
        for p in widths:
            drawn = _pairs(prior, int(p), num, jax.random.fold_in(by_width, p))
            pairs.append(drawn[0])
            largest.append(np.quantile(drawn[1], [0.05, 0.5, 0.95]))
        levels = np.asarray(-np.log([0.05, 0.5, 0.95]))
        levy = prior.limit.levy
        groups[text] = xr.Dataset(
            {
                "both": ("share", _exceed(pairs[-1], share)),
                "both_limit": ("share", _exceed(limit, share)),
                "distance": ("width", [_distance(z[:, 0], limit[:, 0]) for z in pairs]),
                "largest": (("width", "level"), np.stack(largest)),
                "largest_limit": ("level", np.asarray(levy.inverse_tail(jnp.asarray(levels)))),
            },
            {"share": share, "width": widths, "level": [0.05, 0.5, 0.95]},
            {"label": text, "draws": num},
        )
    return groups


def _pairs(prior: priors.Prior, width: int, num: int, key: Array) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of outputs, of shape (num, 2), and largest node variances, of shape (num,)."""
    size = max(1, min(num, 2**20 // width))
    sample = jax.jit(lambda key: prior.at_width(width).sample(key, (size, width)))

    @jax.jit
    def outputs_of(sizes: Array, key: Array) -> tuple[Array, Array]:
        by_node, by_output = jax.random.split(key)
        nodes = jax.nn.relu(jax.random.normal(by_node, sizes.shape))
        root = jnp.sqrt(jnp.sum(sizes * nodes**2, 1))
        return root[:, None] * jax.random.normal(by_output, (size, 2)), jnp.max(sizes, 1)

    keys = jax.random.split(key, (-(-num // size), 2))
    parts = [outputs_of(sample(k[0]), k[1]) for k in keys]
    outputs, largest = (np.concatenate([np.asarray(p[i]) for p in parts])[:num] for i in (0, 1))
    return outputs, largest


def _exceed(pairs: np.ndarray, share: np.ndarray) -> np.ndarray:
    """How often the second output is beyond a level given that the first one is."""
    first, second = np.abs(pairs).T
    levels = np.quantile(first, 1 - share)
    return np.array([np.mean(second[first >= s] >= s) for s in levels])


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov's distance of two samples."""
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    below = [np.searchsorted(z, both, side="right") / len(z) for z in (a, b)]
    return float(np.max(np.abs(below[0] - below[1])))


_SLOPES = {"measured": "measured", "finite": "predicted at the width", "limit": "in the limit"}


def lines(tree: xr.DataTree) -> list[str]:
    """A line for every group."""
    found = []
    for group in tree.children.values():
        data = group.to_dataset()
        a = data.attrs
        if "slope" in a:
            slopes = ", ".join(
                f"{text} {a[f'{name}_slope']:.3f} ± {a[f'{name}_slope_error']:.3f}"
                for name, text in _SLOPES.items()
            )
            text = f"slope {slopes}, for ε → 0 {a['slope']:g}"
        else:
            last = data.isel(width=-1)
            text = (
                f"both beyond the 10 % level {float(data['both'][12]):.3f}, limit "
                f"{float(data['both_limit'][12]):.3f}; distance to the limit "
                f"{float(last['distance']):.4f}; median largest node variance "
                f"{float(last['largest'][1]):.3g}, limit {float(data['largest_limit'][1]):.3g}"
            )
        found.append(f"{a['label']:<26} {text}")
    return found


Experiment = Callable[[Settings, bool], dict[str, xr.Dataset]]
Plot = Callable[[list[xr.Dataset]], Figure]
EXPERIMENTS: dict[str, tuple[Experiment, Plot]] = {
    "truncation-error": (_truncation, theory_plots.truncation),
    "prior-dependence": (_dependence, theory_plots.dependence),
}
