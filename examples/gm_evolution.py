# %% [markdown]
# # Where do the components go?
#
# Figure 4 of Chewi, Rigollet and Yan (TMLR 2025) on scikit-learn's digits: a Gaussian-mixture layer
# of ten components and a network of 1000 neurons, each from a wide start (`γ = 1/2`) and from a
# narrow one (`γ = 1/256`), for equal times of their flows. It needs no network and about half a
# minute on one core:
#
#     python examples/gm_evolution.py

# %%
import argparse
from pathlib import Path

from mogp.app import experiments


def main(*, epochs: int = 60, components: int = 10, out: Path = Path("gm-evolution")) -> None:
    result = experiments.run("gm-evolution", out, epochs=epochs, components=(components,))

    # `moved` is the Bures-Wasserstein distance of the law of β from its start, components paired at
    # least cost, over the size of β at the start: well below 1 is lazy, 1 and more is not.
    for label, group in result.groups.items():
        moved, error = float(group["moved"][-1]), group.attrs["test_error"]
        print(f"{label:<24} moved {moved:8.3f}   test error {100 * error:5.1f} %")
    print(f"{out / 'gm-evolution.png'}")


# %%
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Paths of components and neurons, on digits.")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path("gm-evolution"))
    parser.add_argument("--quick", action="store_true", help="two epochs, to see that it runs")
    arguments = parser.parse_args()
    main(epochs=2 if arguments.quick else arguments.epochs, out=arguments.out)
