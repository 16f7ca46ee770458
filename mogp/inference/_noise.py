"""Random bits for the noise of stochastic-gradient samplers, a few instructions each."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend import random as custom


def noise_keys(key: Array, num: int) -> Array:
    """Keys for `num` steps, of shape (num,), whose random bits are cheap.

    A step of SGHMC takes one normal number a parameter, and with JAX's own generators (Threefry,
    twenty rounds) these cost more than the gradient. Here each is one hash of its index and of the
    64 bits of its key: two multiplications and three xor-shifts, the finaliser `lowbias32` of
    Wellons (2018), with the key added before and between. Good enough for noise, and for nothing
    where an adversary or a small sample looks closely. The keys themselves are JAX's.
    """
    return jax.random.wrap_key_data(jax.random.bits(key, (num, 2), jnp.uint32), impl=_HASH)


def _random_bits(key: Array, width: int, shape: tuple[int, ...]) -> Array:
    index = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    bits = _hash(index, key[0], key[1])
    if width == 64:
        high = _hash(index, ~key[1], key[0]).astype(jnp.uint64)
        return (high << 32) | bits.astype(jnp.uint64)
    return (bits >> (32 - width)).astype(f"uint{width}")


def _hash(index: Array, first: Array, second: Array) -> Array:
    x = index * np.uint32(0x9E3779B9) + first
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) + second
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _seed(seed: Array) -> Array:
    return jax.random.key_data(jax.random.key(seed))


def _fold_in(key: Array, data: Any) -> Array:
    return jnp.stack([_hash(data, key[0], key[1]), _hash(data, ~key[1], key[0])])


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    index = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    return jnp.stack([_hash(index, ~key[0], key[1]), _hash(index, key[1], ~key[0])], -1)


_HASH = custom.define_prng_impl(
    key_shape=(2,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="mogp_hash",
    tag="mogp",
)
