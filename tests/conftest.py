"""JAX's flags for the tests: double precision unless JAX_ENABLE_X64=0, no implicit broadcasting.

Most of the time is spent compiling, so what was compiled is kept in pytest's cache, for the other
worker and for the next run, and XLA's older emitters of fused loops are used, which optimise alike
and take half of the time to compile (`pytest tests/limit/test_limit_low_rank.py`: 9 s for 20 s).
XLA_FLAGS overrides that: CI runs the rooms `activations`, `limit` and `nn` in single precision with
none, as users do. The library itself never sets a flag.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import pytest

jax.config.update("jax_enable_x64", os.environ.get("JAX_ENABLE_X64", "1") not in ("0", "false"))
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    """Where compiled code is kept, also that of single operations; emptied beyond 1 GiB.

    Shells start jobs in the background with Ctrl-C ignored, which tests of Ctrl-C need.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "cache"):  # with `-p no:cacheprovider`
        return
    kept = config.cache.mkdir("jax")
    if not hasattr(config, "workerinput") and _size(kept) > 2**30:
        shutil.rmtree(kept)
    jax.config.update("jax_compilation_cache_dir", str(kept))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> Iterator[None]:
    """Drop what a module compiled: each function takes memory maps, of which there are 65,530."""
    yield
    jax.clear_caches()


@pytest.fixture
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(20250811)
