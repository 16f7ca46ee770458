"""Random bits for the noise of stochastic-gradient samplers, a few instructions each."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend import random as custom

NOISES = ("threefry", "hash")


def noise_keys(key: Array, num: int, noise: str) -> Array:
    """Keys for the noise of `num` steps, of shape (num,).

    With `"threefry"` they are JAX's own. With `"hash"` their random bits are one hash of the index
    and of the 64 bits of the key: two multiplications and three xor-shifts, the finaliser
    `lowbias32` of Wellons (2018), with the key added before and between. These are good enough for
    noise, see docs/sghmc.md for tests, and for nothing where an adversary looks closely. The keys
    themselves are drawn by JAX's generator in both cases.
    """
    if noise == "threefry":
        return jax.random.split(key, num)
    return jax.random.wrap_key_data(jax.random.bits(key, (num, 2), jnp.uint32), impl=_HASH)


def _hash(index: Any, first: Array, second: Array) -> Array:
    x = index * np.uint32(0x9E3779B9) + first
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) + second
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _random_bits(key: Array, width: int, shape: tuple[int, ...]) -> Array:
    index = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    bits = _hash(index, key[0], key[1])
    if width == 64:
        high = _hash(index, ~key[1], key[0]).astype(jnp.uint64)
        return (high << 32) | bits.astype(jnp.uint64)
    return (bits >> (32 - width)).astype(f"uint{width}")


# Threefry's keys, which also seed, split and fold as they do there, with other bits.
_HASH = custom.define_prng_impl(
    key_shape=custom.threefry_prng_impl.key_shape,
    seed=custom.threefry_prng_impl.seed,
    split=custom.threefry_prng_impl.split,
    random_bits=_random_bits,
    fold_in=custom.threefry_prng_impl.fold_in,
    name="mogp_hash",
    tag="mogp",
)
