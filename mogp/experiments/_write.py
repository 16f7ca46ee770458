"""Results of an experiment as files."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from mogp._files import whole_file
from mogp.compare import environment


def write(
    settings: Any, out: Path, groups: Mapping[str, xr.Dataset], figure: Figure
) -> xr.DataTree:
    """`NAME.nc`, with settings and environment, and `NAME.png`; each whole or not at all."""
    tree = xr.DataTree.from_dict({name.replace("/", ":"): g for name, g in groups.items()})
    tree.attrs = {
        "settings": json.dumps(asdict(settings)),
        "environment": json.dumps(environment()),
    }
    with whole_file(out / f"{settings.name}.nc") as part:
        tree.to_netcdf(part, engine="h5netcdf")
    with whole_file(out / f"{settings.name}.png") as part:
        figure.savefig(part, dpi=200)
    return tree
