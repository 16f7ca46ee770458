"""Experiments under the prior, without data: the simulations of [DW] beside our predictions."""

from dataclasses import dataclass, replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array
from matplotlib.figure import Figure
from scipy import stats
from tqdm.auto import tqdm

from mogp import MoGP, nn, plots, priors, pruning
from mogp._checks import check_memory
from mogp.app import _job
from mogp.app._job import Job, plural
from mogp.app.experiments._registry import Experiment, Groups

ALPHAS = (0.1, 0.3, 0.5, 0.8)
TAU = 5.0
OUTPUTS = 10
DEPENDENCE = ("iid", "gamma(mass=1)", "gbfry(alpha=0.5, tau=2)", "horseshoe")


@dataclass(frozen=True)
class Settings(_job.Settings):
    """Everything that determines an experiment.

    Attributes:
        name: the name of the experiment.
        width: the number of nodes in a hidden layer, the most for `prior-dependence`.
        depths: numbers of hidden layers, for `truncation-error`.
        seeds: the number of networks of every kind.
        samples: the number of draws from the limit.
        seed: the seed of everything random.
    """

    name: str
    width: int = 500
    depths: tuple[int, ...] = (1, 2)
    seeds: int = 20
    samples: int = 200
    seed: int = 0


def _settings(name: str, scale: str, _: str) -> Settings:
    """`"small"`: width 500 and two depths. `"paper"`: width 2000, depths up to 4."""
    settings = Settings(name)
    if scale == "paper":
        return replace(settings, width=2000, depths=(1, 2, 3, 4), seeds=40)
    return settings


# --- truncation error -----------------------------------------------------------------------------


def prior_for(alpha: float) -> priors.Prior:
    """The prior of `truncation-error`."""
    return priors.GBFRY(jnp.asarray(alpha, float), TAU)  # an array is not compiled in


def _truncation(job: Job) -> Groups:
    """Errors of ε-pruning: of networks, predicted at their width, and in the limit.

    The range has 2 to a quarter of the nodes above the threshold, and no `ε` below 1e-7.
    """
    settings, groups, x = job.settings, {}, jnp.ones((1, 1))
    width, plain = settings.width, MoGP([priors.Deterministic()] * max(settings.depths))
    _job.check_room(
        "a network", lambda key: plain.network(1, OUTPUTS, width, key=key), 8, "a smaller --width"
    )
    check_memory(
        "predicted errors", 8 * settings.samples * max(width, 250) * max(settings.depths),
        "fewer --samples",
    )  # fmt: skip
    for alpha in tqdm(ALPHAS, "truncation-error", disable=not job.progress):
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
            label = f"α={alpha}, {plural(depth, 'hidden layer')}"
            slope = float(pruning.slopes(prior).threshold)
            groups[label] = dataset.assign_attrs(alpha=alpha, depth=depth, width=width, slope=slope)
    return groups


@eqx.filter_jit
def _measure(
    model: MoGP, width: int, x: Array, thresholds: Array, key: Array
) -> tuple[Array, Array]:
    """Relative errors of one network at each threshold, and its first layer's ranked variances."""
    network = model.network(x.shape[1], OUTPUTS, width, key=key)
    whole = network(x)

    def at(threshold: Array) -> Array:
        logs = [jnp.where(jnp.exp(u) > threshold, u, -jnp.inf) for u in network.log_variances]
        pruned = nn.with_log_variances(network, logs)
        return jnp.mean((whole - pruned(x)) ** 2) / jnp.mean(whole**2)

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


_SLOPES = {"measured": "measured", "finite": "predicted at the width", "limit": "in the limit"}


def _truncation_lines(_: Settings, groups: Groups) -> list[str]:
    found = []
    for label, group in groups.items():
        a = group.attrs
        slopes = ", ".join(
            f"{text} {a[f'{name}_slope']:.3f} ± {a[f'{name}_slope_error']:.3f}"
            for name, text in _SLOPES.items()
        )
        found.append(f"{label:<26} slope {slopes}, for ε → 0 {a['slope']:g}")
    return found


def _plot_truncation(settings: Settings, groups: Groups) -> Figure:
    """Errors of ε-pruning measured and predicted, a panel a depth, and ranked node variances."""
    depths, datasets = settings.depths, list(groups.values())
    figure, axes = plots.panels(
        1, len(depths) + 1, (3.1 * (len(depths) + 1) + 0.6, 3.6),
        f"ε-pruning under GBFRY, medians: networks of width {settings.width} (markers), predicted "
        "for them (grey), and in the limit (lines; bands 10 to 90 %)",
    )  # fmt: skip
    *panels, last = axes[0]
    for ax, depth in zip(panels, depths, strict=True):
        chosen = [data for data in datasets if data.attrs["depth"] == depth]
        for data, style in zip(chosen, plots.STYLES, strict=False):
            colour, marker, dashes = style
            epsilon = data["threshold"].values
            low, middle, high = np.quantile(data["limit"].values, [0.1, 0.5, 0.9], axis=0)
            ax.fill_between(epsilon, low, high, color=colour, alpha=0.16, linewidth=0)
            ax.plot(epsilon, middle, color=colour, linestyle=dashes, linewidth=1.4)
            finite = np.median(data["finite"].values, axis=0)
            ax.plot(epsilon, finite, color="0.35", linewidth=0.8)
            measured = np.median(data["measured"].values, axis=0)
            label = f"α = {data.attrs['alpha']:g}" if ax is panels[0] else None
            ax.plot(epsilon, measured, marker, color=colour, markersize=4.5, label=label)
        ax.set(xscale="log", yscale="log")
        plots.tidy(ax, "threshold ε", "", plural(depth, "hidden layer"))
    low, high = zip(*(ax.get_ylim() for ax in panels), strict=True)
    for ax in panels:
        ax.set_ylim(min(low), max(high))
    panels[0].set_ylabel("relative error of the output")
    first = [data for data in datasets if data.attrs["depth"] == depths[0]]
    for data, (colour, marker, _) in zip(first, plots.STYLES, strict=False):
        rank, sizes = data["rank"].values, np.median(data["ranked"].values, axis=0)
        last.plot(rank, sizes, marker, color=colour, markersize=3)
        last.plot(rank, data["expected"].values, color=colour, linewidth=1.2)
        last.plot(rank, data["power_law"].values, "k:", linewidth=0.9)
    last.set(xscale="log", yscale="log", ylim=(1e-9, 10))
    plots.tidy(last, "rank r", "node variance", "ranked λ; limit and power law (dots)")
    return figure


# --- dependence -----------------------------------------------------------------------------------


def _dependence(job: Job) -> Groups:
    """One hidden layer, an input with `‖x‖² = d`, two outputs, at widths and in the limit."""
    settings = job.settings
    check_memory("draws", 100 * settings.samples * 1000, "fewer --samples")
    check_memory("a draw", 24 * settings.width, "a smaller --width")
    widths = np.unique(np.geomspace(10, settings.width, 4).astype(int))
    groups, num = {}, 100 * settings.samples
    share = np.geomspace(1e-2, 1, 25)
    for text in tqdm(DEPENDENCE, "prior-dependence", disable=not job.progress):
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
                "distance": (
                    "width",
                    [stats.ks_2samp(z[:, 0], limit[:, 0], method="asymp").statistic for z in pairs],
                ),
                "largest": (("width", "level"), np.stack(largest)),
                "largest_limit": ("level", np.asarray(levy.inverse_tail(jnp.asarray(levels)))),
            },
            {"share": share, "width": widths, "level": [0.05, 0.5, 0.95]},
            {"draws": num},
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


def _dependence_lines(_: Settings, groups: Groups) -> list[str]:
    found = []
    for label, data in groups.items():
        last = data.isel(width=-1)
        found.append(
            f"{label:<26} both beyond the 10 % level {float(data['both'][12]):.3f}, limit "
            f"{float(data['both_limit'][12]):.3f}; distance to the limit "
            f"{float(last['distance']):.4f}; median largest node variance "
            f"{float(last['largest'][1]):.3g}, limit {float(data['largest_limit'][1]):.3g}"
        )
    return found


def _plot_dependence(_: Settings, groups: Groups) -> Figure:
    """Dependence of two outputs, distance to the limit, and the largest node variance."""
    figure, axes = plots.panels(1, 3, (11.5, 3.8))
    left, middle, right = axes[0]
    for i, ((label, data), style) in enumerate(zip(groups.items(), plots.STYLES, strict=False)):
        (colour, marker, dashes), width = style, data["width"].values
        share = data["share"].values
        left.plot(share, data["both"].values, marker, color=colour, markersize=4, label=label)
        left.plot(share, data["both_limit"].values, color=colour, linestyle=dashes, linewidth=1.2)
        middle.plot(width, data["distance"].values, **style._asdict(), markersize=5)
        low, median, high = data["largest"].values.T
        bars = np.stack([median - low, high - median])
        place = width * 1.06**i
        right.errorbar(place, median, bars, fmt=marker, color=colour, markersize=4.5, capsize=2)
        if data["largest_limit"].values[1] > 0:
            for value, line in zip(data["largest_limit"].values, (":", "-", ":"), strict=True):
                right.axhline(value, color=colour, linestyle=line, linewidth=0.9)
    left.set(xscale="log", ylim=(0, 1))
    noise = 1.36 * np.sqrt(2 / data.attrs["draws"])
    middle.axhline(noise, color=plots.GREY, linestyle="--", linewidth=0.9)
    middle.annotate("95 % of equal laws are below", (width[0], noise * 1.06), fontsize="x-small")
    middle.set(xscale="log", yscale="log")
    plots.number_ticks(middle.yaxis)
    right.set(xscale="log", yscale="log")
    plots.tidy(left, "P(|Z₁| > s)", "P(|Z₂| > s given |Z₁| > s)", "two outputs; limit (lines)")
    plots.tidy(middle, "width p", "Kolmogorov distance", "an output: distance to the limit")
    plots.tidy(right, "width p", "largest node variance", "5, 50, 95 %; limit (lines)")
    return figure


EXPERIMENTS = [
    Experiment(
        "truncation-error", "pruning errors of networks drawn from the prior, beside the predicted",
        partial(_settings, "truncation-error"), _truncation, _plot_truncation, _truncation_lines,
    ),
    Experiment(
        "prior-dependence", "dependence of outputs of networks drawn from the prior, by width",
        partial(_settings, "prior-dependence"), _dependence, _plot_dependence, _dependence_lines,
    ),
]  # fmt: skip
