"""The names of what was compiled."""

import logging

import jax
import pytest


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
