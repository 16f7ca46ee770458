"""The pruning experiments of [DW], and what repair adds. Behind `mogp experiment pruning-map`."""

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from mogp import datasets, inference, nn, pruning
from mogp import priors as priors_room
from mogp._checks import check_between, check_choice, check_count
from mogp._files import whole_file
from mogp.architecture import MoGP
from mogp.compare import check_writable
from mogp.experiments._write import write
from mogp.experiments.pruning_plots import Line, size_curves
from mogp.experiments.published import published

EXPERIMENTS = ("pruning-map", "pruning-bayes", "features")
KEEP = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
ROWS = 10_000  # training rows that scores average over and repairs fit to
LABELS = 800
NODES = 30  # that `features` looks at


@dataclass(frozen=True)
class Settings:
    """Everything that determines an experiment.

    Attributes:
        name: one of `EXPERIMENTS`.
        data: `"digits"`, `"mnist"` or `"fashion-mnist"`.
        epochs: passes over the training data.
        seeds: networks of every kind; chains in `pruning-bayes` and `features`.
        width: nodes in every hidden layer.
        hidden: hidden layers.
        priors: as `mogp.priors.parse` reads them; `grouplasso` stands for the group lasso of every
            layer's own number of outgoing weights.
        keep: fractions of nodes kept, 1 first.
        temperature: the log prior is divided by it (`pruning-map`; 5 in [DW]).
        draws: of each chain.
        step_size: of `inference.sghmc`.
        seed: of everything random.
    """

    name: str
    data: str = "digits"
    epochs: int = 60
    seeds: int = 2
    width: int = 200
    hidden: int = 2
    priors: tuple[str, ...] = ("iid", "grouplasso", "horseshoe", "gbfry(alpha=0.2, tau=5)")
    keep: tuple[float, ...] = KEEP
    temperature: float = 5.0
    draws: int = 10
    step_size: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("name", self.name, EXPERIMENTS)
        for name in ("epochs", "seeds", "width", "hidden", "draws"):
            check_count(name, getattr(self, name))
        for name in ("temperature", "step_size"):
            check_between(name, getattr(self, name), 0)
        for fraction in self.keep:
            pruning.check_keep(fraction)
        if not self.priors:
            raise ValueError("priors must name at least one prior")
        for text in self.priors:
            layer_priors(text, 1, 1, 1)

    @property
    def batch_size(self) -> int:
        """Rows a step: 50 of digits, else 100 as in [DW]."""
        return 50 if self.data == "digits" else 100


def settings_for(name: str, data: str, scale: str) -> Settings:
    """`"small"`: minutes on digits. `"paper"`: width, epochs and runs of [DW]."""
    check_choice("scale", scale, ("small", "paper"))
    bayes = name != "pruning-map"
    hidden = 2 if bayes or data == "digits" else 4
    learned = ("iid", "horseshoe", "gbfry") if bayes else Settings.priors
    settings = Settings(name, data, hidden=hidden, priors=learned)
    changes: dict[str, Any] = {}
    if scale == "paper":
        changes = {"width": 2000, "epochs": 100 if bayes else 50, "seeds": 5, "draws": 25}
    elif data != "digits":
        changes = {"width": 500, "epochs": 10, "seeds": 2 if bayes else 1}
    elif not bayes:
        changes = {"priors": ("iid", "horseshoe")}
    if bayes and data != "digits":
        changes["step_size"] = 0.5  # as in [DW]
    return replace(settings, **changes)


def layer_priors(text: str, hidden: int, width: int, classes: int) -> list[priors_room.Prior]:
    """One prior a hidden layer; `grouplasso` depends on the width of the next one."""
    if text == "grouplasso":
        sizes = [width] * (hidden - 1) + [classes]
        return [priors_room.GroupLasso(float(size)) for size in sizes]
    if text == "gbfry":  # its index is learned
        return [priors_room.GBFRY(alpha=0.5, tau=2.0)] * hidden
    return [priors_room.parse(text)] * hidden


def optimizer(settings: Settings, rows: int) -> optax.GradientTransformation:
    """Adam at 1e-2, from a fifth of the epochs on 5e-3, from two fifths on 1e-3, as in [DW]."""
    steps = settings.epochs * (rows // settings.batch_size)
    changes = {steps // 5: 0.5, 2 * steps // 5: 0.2}
    return optax.adam(optax.piecewise_constant_schedule(1e-2, changes))


class Rule(NamedTuple):
    """A way to prune: see `pruning.compact`, and whether two epochs of training follow."""

    label: str
    rank: str
    budget: str = "equal"
    repair: bool = False
    tuned: bool = False


def rules(text: str) -> list[Rule]:
    """The rule of [DW] first. Equal variances are ties: no ranking by variance then."""
    by_paper = [Rule("norm", "norm")] if text == "iid" else [Rule("variance", "variance")]
    return [
        *by_paper,
        Rule("contribution", "contribution"),
        Rule("contribution, repaired", "contribution", repair=True),
        Rule("greedy, repaired", "contribution", "greedy", repair=True),
        Rule("taylor, repaired", "taylor", repair=True),
        Rule("contribution, repaired, 2 epochs", "contribution", repair=True, tuned=True),
        Rule("taylor, repaired, 2 epochs", "taylor", repair=True, tuned=True),
    ]


def run_map(
    settings: Settings, out: Path, *, data_dir: Path | None = None, progress: bool = True
) -> xr.DataTree:
    """Train the networks, prune them by every rule, and write `pruning-map.nc` and `.png`.

    Trained networks and the scores of each stay in `out/checkpoints`: the same call goes on where a
    killed one stopped, and a later one with other fractions trains nothing again.

    Args:
        settings: what to do.
        out: folder for the results, made if it does not exist.
        data_dir: folder with a folder of data files a data set, see `datasets.load`.
        progress: show progress bars.

    Returns:
        One group a prior and rule, `PRIOR: RULE`, and `from scratch`, with `accuracy` and `nll` on
        the test data, dimensions keep and seed.
    """
    data = datasets.load(settings.data, data_dir=data_dir)
    check_writable(out)
    trainer, seeds = _Trainer(settings, data, out, progress), range(settings.seeds)
    groups: dict[str, xr.Dataset] = {}
    for text in (*settings.priors, "scratch"):
        runs = [trainer.scores(text, seed) for seed in seeds]
        keep = [k for k in settings.keep if k < 1] if text == "scratch" else settings.keep
        groups |= {name: _scores([run[name] for run in runs], keep) for name in runs[0]}
    figure = size_curves(
        [Line(name, g["keep"].values, g["accuracy"].values, g["nll"].values)
         for name, g in groups.items() if shown(name)],
        width=settings.width,
        title=f"{settings.data}: {settings.hidden} hidden layers of {settings.width} nodes, "
        f"{settings.epochs} epochs, {settings.seeds} run{'s' * (settings.seeds > 1)}",
    )  # fmt: skip
    return write(settings, out, groups, figure)


def shown(name: str) -> bool:
    """Whether a line is in the figure: three rules a prior, and the bound."""
    rules = ("variance", "norm", "taylor, repaired", "taylor, repaired, 2 epochs", "from scratch")
    return name.endswith(rules)


class _Trainer(NamedTuple):
    settings: Settings
    data: datasets.Dataset
    out: Path
    progress: bool

    def trained(self, text: str, width: int, seed: int) -> nn.DependentMLP:
        """A network after all epochs; `scratch` is iid by maximum likelihood."""
        s, data = self.settings, self.data
        classes = int(data.y_train.max()) + 1
        kind = "iid" if text == "scratch" else text
        model = MoGP(layer_priors(kind, s.hidden, width, classes), bias_scale=1.0)
        by_start, by_fit = jax.random.split(jax.random.fold_in(jax.random.key(s.seed), seed))
        start = model.network(
            data.x_train.shape[1], classes, width, init_variances="equal", key=by_start
        )
        name = f"{text} {width} {seed}"
        result = inference.fit(
            start, data.x_train, data.y_train, key=by_fit, num_epochs=s.epochs,
            batch_size=s.batch_size, optimizer=optimizer(s, len(data.x_train)),
            temperature=math.inf if text == "scratch" else s.temperature,
            checkpoint=checkpoint(s, self.out, name), checkpoint_every=5, progress=self.progress,
            description=name,
        )  # fmt: skip
        network: nn.DependentMLP = result.model
        return network

    def scores(self, text: str, seed: int) -> dict[str, list[list[float]]]:
        """Accuracies and negative log-likelihoods of a network at every fraction, by rule.

        They are kept in a file. What was compiled goes: for five networks there is no room.
        """
        s = self.settings
        labels = [rule.label for rule in rules(text)]
        path = checkpoint(s, self.out, f"{text} {seed} {s.keep} {labels}").with_suffix(".json")
        if not path.exists():
            found = self._scores_by_rule(text, seed)
            values = {name: [[float(v) for v in pair] for pair in f] for name, f in found.items()}
            with whole_file(path) as part:
                part.write_text(json.dumps(values))
            jax.clear_caches()  # type: ignore[no-untyped-call]
        kept: dict[str, list[list[float]]] = json.loads(path.read_text())
        return kept

    def _scores_by_rule(self, text: str, seed: int) -> dict[str, list[inference.Scores]]:
        width = self.settings.width
        if text == "scratch":
            widths = [pruning.num_kept(k, width) for k in self.settings.keep if k < 1]
            return {"from scratch": [self.score(self.trained(text, w, seed)) for w in widths]}
        network = self.trained(text, width, seed)
        found = {f"{text}: {rule.label}": self.pruned(network, rule) for rule in rules(text)}
        if text == "iid":
            found["iid: single weights"] = list(map(self.score, self.thinned(network)))
        return found

    def score(self, network: Any) -> inference.Scores:
        """On the test data."""
        result: inference.Scores = _evaluate(network, self.data.x_test, self.data.y_test)
        return result

    def pruned(self, network: nn.DependentMLP, rule: Rule) -> list[inference.Scores]:
        """Scores at every fraction."""
        x, data = self.data.x_train[:ROWS], self.data
        if not rule.tuned:
            curve = pruning.curve(
                network, data.x_test, data.y_test, self.settings.keep, rule.rank,
                budget=rule.budget, repair=rule.repair, inputs=x, targets=data.y_train[:ROWS],
            )  # fmt: skip
            return [inference.Scores(*pair) for pair in zip(curve.accuracy, curve.nll, strict=True)]
        return [self.score(network) if k == 1 else self.score(self.tuned(network, rule, k))
                for k in self.settings.keep]  # fmt: skip

    def tuned(self, network: nn.DependentMLP, rule: Rule, keep: float) -> nn.DependentMLP:
        """The smaller network: an epoch at twice its nodes, cut again, and another epoch.

        Maximum likelihood by Adam in small batches, at 1e-2 falling to a tenth, then to 0.
        """
        s, data, width = self.settings, self.data, self.settings.width
        batch_size = s.batch_size // 5
        steps = len(data.x_train) // batch_size
        for epoch, share in enumerate((min(2 * keep, 1.0), keep)):
            small = pruning.compact(
                network, pruning.num_kept(share, width) / network.widths[0], rank=rule.rank,
                budget=rule.budget, repair=True, inputs=data.x_train[:ROWS],
                targets=data.y_train[:ROWS],
            )  # fmt: skip
            schedule = optax.linear_schedule(1e-2, 1e-3 * (1 - epoch), steps)
            network = inference.fit(
                small, data.x_train, data.y_train, key=jax.random.key(epoch), num_epochs=1,
                batch_size=batch_size, temperature=math.inf, optimizer=optax.adam(schedule),
                progress=False,
            ).model  # fmt: skip
        return network

    def thinned(self, network: nn.DependentMLP) -> Iterator[nn.DependentMLP]:
        """Magnitude pruning of single weights, as many left as in the network of so many nodes.

        The network stays as large as it was: this baseline saves nothing by itself.
        """
        sizes = [weight.size for weight in network.weights]
        for keep in self.settings.keep:
            nodes = [pruning.num_kept(keep, width) for width in network.widths]
            pairs = zip([network.in_size, *nodes], [*nodes, network.out_size], strict=True)
            left = [min(n * m, size) for (n, m), size in zip(pairs, sizes, strict=True)]
            weights = tuple(
                jnp.where(jnp.abs(w) >= jnp.sort(jnp.abs(w).ravel())[-count], w, 0)
                for w, count in zip(network.weights, left, strict=True)
            )
            yield eqx.tree_at(lambda n: n.weights, network, weights)


_evaluate = eqx.filter_jit(inference.evaluate)


def checkpoint(settings: Settings, out: Path, name: str) -> Path:
    """One file a model and what trains it: other settings must not resume from it."""
    own = ("temperature",) if settings.name == "pruning-map" else ("seeds", "draws", "step_size")
    trains = {k: getattr(settings, k) for k in ("data", "epochs", "width", "hidden", "seed", *own)}
    code = zlib.crc32(f"{name} {json.dumps(trains)}".encode())
    return out / "checkpoints" / f"{code:08x}.ckpt"


def _scores(runs: Sequence[Sequence[Sequence[float]]], keep: Sequence[float]) -> xr.Dataset:
    accuracy, nll = np.array(runs).transpose(2, 1, 0)
    values = {"accuracy": (("keep", "seed"), accuracy), "nll": (("keep", "seed"), nll)}
    return xr.Dataset(values, coords={"keep": list(keep)})


def lines(tree: xr.DataTree) -> list[str]:
    """The results as a table in text, with the rows of [DW] beneath where they have some."""
    settings = json.loads(tree.attrs["settings"])
    groups = {name: group.to_dataset() for name, group in tree.children.items()}
    others = published(settings["name"], settings["data"])
    if settings["name"] == "features":
        rows = [f"test accuracy (%) from {NODES} nodes and {LABELS} labels, mean ± sd over chains"]
        for name, group in groups.items():
            for rank, values in group.data_vars.items():
                cells = [_cell(100 * layer) for layer in values.values]
                rows.append(f"  {name + ', ' + str(rank):<36}" + "".join(cells))
            if name in others:
                rows.append(f"  {name + ', [DW], 2000 nodes':<36}{others[name][1.0]:>12.0f}")
        return rows
    rows = [f"{'nodes kept':<52}" + "".join(f"{100 * k:>10g} %" for k in settings["keep"])]
    for name, group in groups.items():
        found = dict(zip(group["keep"].values, 100 * group["accuracy"].values, strict=True))
        cells = [_cell(found[k]) if k in found else f"{'–':>12}" for k in settings["keep"]]
        rows.append(f"{name:<52}" + "".join(cells))
    for name, row in others.items():
        cells = [f"{row[k]:>12.1f}" if k in row else f"{'–':>12}" for k in settings["keep"]]
        rows.append(f"{name + ': [DW], 2000 nodes':<52}" + "".join(cells))
    return rows


def _cell(values: np.ndarray[Any, Any]) -> str:
    text = f"{values.mean():.1f}" + (f" ±{values.std():.1f}" if values.size > 1 else "")
    return f"{text:>12}"
