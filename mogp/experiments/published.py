"""What [DW] report, to stand beside one's own numbers."""

from collections.abc import Mapping

# Test accuracy (%) by the share of nodes kept, Fashion-MNIST, four hidden layers of 2000 nodes,
# mean of 5 runs.
_KEPT = (1.0, 0.2, 0.1, 0.05, 0.02, 0.01)
_MAP = {
    "iid": (87.98, 86.24, 60.24, 19.64, 10.84, 10.00),
    "horseshoe": (88.50, 88.70, 88.68, 88.50, 76.56, 30.26),
    "gbfry(alpha=0.8, tau=5)": (88.54, 88.54, 88.56, 88.40, 77.24, 37.58),
    "gbfry(alpha=0.2, tau=5)": (88.62, 88.62, 88.60, 88.30, 77.24, 34.48),
}
# Read off figures: two hidden layers of 2000 nodes, SGHMC.
_BAYES_KEPT = (0.5, 0.2, 0.1, 0.05, 0.01)
_BAYES: dict[str, dict[str, tuple[float, ...]]] = {
    "mnist": {
        "iid": (86, 36, 18, 10, 10),
        "horseshoe": (97.7, 97.7, 97.6, 97.1, 28.8),
        "gbfry": (97.7, 97.7, 97.7, 97.7, 41.5),
    },
    "fashion-mnist": {
        "iid": (72, 31, 12, 10, 10),
        "horseshoe": (88, 88, 87, 86, 43),
        "gbfry": (88, 88, 88, 88, 62),
    },
}
_FEATURES = {
    "mnist": {"iid": 47, "horseshoe": 82, "gbfry": 90},
    "fashion-mnist": {"iid": 38, "horseshoe": 80, "gbfry": 81},
}


def published(name: str, data: str) -> dict[str, dict[float, float]]:
    """Accuracies (%) of [DW] at width 2000: prior = share of nodes kept = accuracy.

    Args:
        name: `"pruning-map"`, `"pruning-bayes"` or `"features"`; the last has the one share 1, for
            its top 30 nodes.
        data: name of the data set; empty where they report none.
    """
    if name == "features":
        return {prior: {1.0: float(a)} for prior, a in _FEATURES.get(data, {}).items()}
    tables: Mapping[str, tuple[float, ...]] = _MAP if data == "fashion-mnist" else {}
    kept: tuple[float, ...] = _KEPT
    if name == "pruning-bayes":
        tables, kept = _BAYES.get(data, {}), _BAYES_KEPT
    return {prior: dict(zip(kept, row, strict=True)) for prior, row in tables.items()}
