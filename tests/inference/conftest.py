"""Compilation: a quick one, and the names of what was compiled."""

import logging

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def _quickly():
    """XLA optimises little, for most of the time is spent compiling samplers: 284 s for 458 s."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def _well(request):
    """But not in statistical tests, which compute for long."""
    long = request.node.get_closest_marker("statistical") is not None
    jax.config.update("jax_disable_most_optimizations", not long)


class Compilations(logging.Handler):
    """The names of what was compiled."""

    def __init__(self):
        super().__init__()
        self.names = []

    def emit(self, record):
        if "Finished XLA compilation" in record.getMessage():
            self.names.append(record.getMessage())


@pytest.fixture
def compilations():
    """Of all threads, which `jax.log_compiles` as a context is not."""
    handler, logger = Compilations(), logging.getLogger("jax")
    old, propagates = jax.config.jax_log_compiles, logger.propagate
    jax.config.update("jax_log_compiles", True)
    logger.addHandler(handler)
    logger.propagate = False
    yield handler.names
    logger.removeHandler(handler)
    logger.propagate = propagates
    jax.config.update("jax_log_compiles", old)
