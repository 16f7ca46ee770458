"""Trained networks with fewer and fewer nodes, by several rules: `pruning-map` of [DW]."""

import json
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from matplotlib.figure import Figure

from mogp import MoGP, inference, nn, pruning
from mogp.app import _job
from mogp.app._job import Job, plural
from mogp.app.experiments import _pruning
from mogp.app.experiments._pruning import ROWS, Settings
from mogp.app.experiments._registry import Experiment, Groups


class Rule(NamedTuple):
    """A way to prune: see `pruning.compact`, and whether two epochs of training follow."""

    label: str
    importance: str
    budget: str = "equal"
    repair: bool = False
    tuned: bool = False


def rules(text: str) -> list[Rule]:
    """The rule of [DW] first."""
    paper = _pruning.rule_of_paper(text)
    return [
        Rule(paper, paper),
        Rule("contribution", "contribution"),
        Rule("contribution, repaired", "contribution", repair=True),
        Rule("greedy, repaired", "contribution", "greedy", repair=True),
        Rule("taylor, repaired", "taylor", repair=True),
        Rule("contribution, repaired, 2 epochs", "contribution", repair=True, tuned=True),
        Rule("taylor, repaired, 2 epochs", "taylor", repair=True, tuned=True),
    ]


def _run(job: Job) -> Groups:
    """One group a prior and rule, `PRIOR: RULE`, and `from scratch`, with `accuracy` and `nll`.

    Trained networks and the scores of each stay in the folder of checkpoints: a later call with
    other fractions trains nothing again.
    """
    settings, trainer, groups = job.settings, _Trainer(job), {}
    for text in (*settings.priors, "scratch"):
        runs = [trainer.scores(text, seed) for seed in range(settings.seeds)]
        keep = [k for k in settings.keep if k < 1] if text == "scratch" else settings.keep
        for name in runs[0]:
            accuracy, nll = np.array([run[name] for run in runs]).transpose(2, 1, 0)
            groups[name] = _job.scores_by_keep(keep, accuracy, nll)
    return groups


class _Trainer(NamedTuple):
    job: Job

    @property
    def settings(self) -> Settings:
        return self.job.settings

    def trained(self, text: str, width: int, seed: int) -> nn.DependentMLP:
        """A network after all epochs; `scratch` is iid by maximum likelihood."""
        s, data, (d, classes) = self.settings, self.job.data, self.job.sizes
        kind = "iid" if text == "scratch" else text
        model = MoGP(_pruning.layer_priors(kind, s.hidden, width, classes), bias_scale=1.0)
        by_start, by_fit = jax.random.split(jax.random.fold_in(jax.random.key(s.seed), seed))
        name = f"{text} {width} {seed}"

        def build(key: Array) -> nn.DependentMLP:
            return model.network(d, classes, width, init_variances="equal", key=key)

        _job.check_room(f"training {name}", build, 4, "a smaller --width")
        return self.job.fit(
            build(by_start), name,
            key=by_fit, num_epochs=s.epochs, batch_size=s.batch_size,
            optimizer=optimizer(s, len(data.x_train)),
            prior_temperature=math.inf if text == "scratch" else s.prior_temperature,
            checkpoint=self.checkpoint(name), checkpoint_every=5,
        ).model  # fmt: skip

    def checkpoint(self, name: str) -> Any:
        """The file of what these settings train, whatever is then done with it."""
        trains = ("data", "epochs", "width", "hidden", "seed", "prior_temperature")
        return self.job.checkpoint(name, {k: getattr(self.settings, k) for k in trains})

    def scores(self, text: str, seed: int) -> dict[str, list[list[float]]]:
        """Accuracies and negative log-likelihoods of a network at every fraction, by rule.

        They are kept in a file. What was compiled goes: for five networks there is no room.
        """
        labels = [rule.label for rule in rules(text)]
        path = self.checkpoint(f"{text} {seed} {self.settings.keep} {labels}").with_suffix(".json")
        if not path.exists():
            found = self._scores_by_rule(text, seed)
            values = {name: [[float(v) for v in pair] for pair in f] for name, f in found.items()}
            _job.write_record(path, values)
            jax.clear_caches()  # type: ignore[no-untyped-call]
        try:
            return {n: np.array(v, float).tolist() for n, v in json.loads(path.read_text()).items()}
        except (ValueError, AttributeError):
            raise ValueError(f"out: {path} holds no scores of mogp; delete or move it") from None

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
        return _evaluate(network, self.job.data.x_test, self.job.data.y_test)

    def options(self, rule: Rule) -> dict[str, Any]:
        """Of `pruning.curve` and `pruning.compact`."""
        data = self.job.data
        return {
            "importance": rule.importance, "budget": rule.budget, "repair": rule.repair,
            "x_train": data.x_train[:ROWS], "y_train": data.y_train[:ROWS],
        }  # fmt: skip

    def pruned(self, network: nn.DependentMLP, rule: Rule) -> list[inference.Scores]:
        """Scores at every fraction."""
        keep, data = self.settings.keep, self.job.data
        if rule.tuned:
            whole = self.score(network)
            return [whole if k == 1 else self.score(self.tuned(network, rule, k)) for k in keep]
        curve = pruning.curve(network, data.x_test, data.y_test, keep, **self.options(rule))
        return [inference.Scores(*pair) for pair in zip(curve.accuracy, curve.nll, strict=True)]

    def tuned(self, network: nn.DependentMLP, rule: Rule, keep: float) -> nn.DependentMLP:
        """The smaller network: an epoch at twice its nodes, cut again, and another epoch.

        Maximum likelihood by Adam in small batches, at 1e-2 falling to a tenth, then to 0.
        """
        s, data = self.settings, self.job.data
        batch_size = s.batch_size // 5
        steps = len(data.x_train) // batch_size
        for epoch, share in enumerate((min(2 * keep, 1.0), keep)):
            nodes = pruning.num_kept(share, s.width)
            small = pruning.compact(network, nodes=nodes, **self.options(rule))
            schedule = optax.linear_schedule(1e-2, 1e-3 * (1 - epoch), steps)
            network = self.job.fit(
                small, "two epochs", key=jax.random.key(epoch), num_epochs=1, progress=False,
                batch_size=batch_size, prior_temperature=math.inf, checkpoint=None,
                optimizer=optax.adam(schedule),
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


def optimizer(settings: Settings, rows: int) -> optax.GradientTransformation:
    """Adam at 1e-2, from a fifth of the epochs on 5e-3, from two fifths on 1e-3, as in [DW]."""
    steps = settings.epochs * (rows // settings.batch_size)
    changes = {steps // 5: 0.5, 2 * steps // 5: 0.2}
    return optax.adam(optax.piecewise_constant_schedule(1e-2, changes))


def _plot(settings: Settings, groups: Groups) -> Figure:
    """Three rules a prior, and the bound."""
    rules = ("variance", "norm", "taylor, repaired", "taylor, repaired, 2 epochs", "from scratch")
    shown = {k: g for k, g in groups.items() if k.endswith(rules)}
    curves = {k: tuple(g[s].values for s in ("keep", "accuracy", "nll")) for k, g in shown.items()}
    layers = f"{settings.hidden} hidden layers of {settings.width} nodes"
    title = f"{layers}, {settings.epochs} epochs, {plural(settings.seeds, 'run')}"
    return _pruning.size_curves(settings, curves, title)


EXPERIMENTS = [
    Experiment(
        "pruning-map", "trained networks with fewer and fewer nodes, by several rules",
        _pruning.map_settings, _run, _plot, _pruning.lines, keeps_checkpoints=True,
    )
]  # fmt: skip
