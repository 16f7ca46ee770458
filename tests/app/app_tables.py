"""Two tables for the tests of fits."""

import numpy as np
import pandas as pd


def numbers(n=20):
    """One input, a real target far from 0 and 1, in a table."""
    x = np.linspace(0.0, 10.0, n)
    noise = np.random.default_rng(0).normal(size=n)
    return pd.DataFrame({"dose": x, "effect": 500 + 30 * x + 5 * noise})


def kinds(n=24):
    """Two inputs, one of text, and three classes of text."""
    rng = np.random.default_rng(1)
    size = rng.normal(size=n)
    kind = np.array(["high", "low", "mid"])[np.digitize(size, [-0.5, 0.5])]
    return pd.DataFrame({"size": size, "colour": np.tile(["red", "blue"], n // 2), "kind": kind})
