"""Networks in plain Equinox, as users write them, with an input of each."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from equinox import nn

KEY = jax.random.key(7, impl="rbg")  # the generator that compiles in a tenth of the time


def keys(number):
    return jax.random.split(KEY, number)


class BatchNorm(eqx.Module):
    """Normalisation of each channel by stored statistics, as at the end of training."""

    mean: jax.Array
    variance: jax.Array
    scale: jax.Array
    shift: jax.Array

    def __init__(self, channels):
        self.mean, self.variance, self.scale, self.shift = (
            jax.random.uniform(k, (channels,), minval=0.5) for k in keys(4)
        )

    def __call__(self, x):
        mean, scale, shift = (a[:, None, None] for a in (self.mean, self.scale, self.shift))
        variance = jnp.abs(self.variance)[:, None, None]  # a sampler may turn its sign
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * scale + shift


class ResidualMLP(eqx.Module):
    into: nn.Linear
    blocks: list
    out: nn.Linear

    def __init__(self):
        k = keys(6)
        self.into, self.out = nn.Linear(3, 8, key=k[0]), nn.Linear(8, 2, key=k[1])
        pairs = ((k[2], k[3]), (k[4], k[5]))
        self.blocks = [(nn.Linear(8, 16, key=a), nn.Linear(16, 8, key=b)) for a, b in pairs]

    def __call__(self, x):
        x = self.into(x)
        for widen, back in self.blocks:
            x = x + back(jax.nn.relu(widen(x)))
        return self.out(x)


class LeNet5(eqx.Module):
    layers: list

    def __init__(self):
        k = keys(4)
        self.layers = [
            nn.Conv2d(1, 6, 5, key=k[0]),
            nn.MaxPool2d(2, 2),
            jax.nn.relu,
            nn.Conv2d(6, 10, 5, key=k[1]),
            nn.MaxPool2d(2, 2),
            jax.nn.relu,
            jnp.ravel,
            nn.Linear(160, 30, key=k[2]),
            jax.nn.relu,
            nn.Linear(30, 10, key=k[3]),
        ]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class VGG(eqx.Module):
    layers: list
    head: nn.Linear

    def __init__(self):
        k, sizes = keys(5), (3, 6, 8, 10)
        self.layers = []
        for i in range(3):
            self.layers += [
                nn.Conv2d(sizes[i], sizes[i + 1], 3, padding=1, use_bias=False, key=k[i]),
                BatchNorm(sizes[i + 1]),
                jax.nn.relu,
            ]
        self.head = nn.Linear(10, 4, key=k[4])

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


class ResNet(eqx.Module):
    """Two stages, the second of half the size and twice the channels."""

    first: nn.Conv2d
    blocks: list
    head: nn.Linear

    def __init__(self):
        k = iter(keys(40))
        self.first = nn.Conv2d(3, 4, 3, padding=1, key=next(k))
        self.blocks, channels = [], 4
        for size in (4, 8):
            for stride in (1 if size == 4 else 2, 1):
                shortcut = None
                if stride == 2:
                    shortcut = nn.Conv2d(channels, size, 1, stride=2, key=next(k))
                one = nn.Conv2d(channels, size, 3, stride, padding=1, key=next(k))
                two = nn.Conv2d(size, size, 3, padding=1, key=next(k))
                self.blocks.append((one, BatchNorm(size), two, BatchNorm(size), shortcut))
                channels = size
        self.head = nn.Linear(8, 5, key=next(k))

    def __call__(self, x):
        x = jax.nn.relu(self.first(x))
        for one, norm_one, two, norm_two, shortcut in self.blocks:
            y = norm_two(two(jax.nn.relu(norm_one(one(x)))))
            x = jax.nn.relu(y + (x if shortcut is None else shortcut(x)))
        return self.head(jnp.mean(x, axis=(1, 2)))


class Separable(eqx.Module):
    first: nn.Conv2d
    depthwise: nn.Conv2d
    pointwise: nn.Conv2d
    norm: nn.GroupNorm
    head: nn.Linear

    def __init__(self):
        k = keys(4)
        self.first = nn.Conv2d(3, 12, 3, key=k[0])
        self.depthwise = nn.Conv2d(12, 12, 3, groups=12, key=k[1])
        self.pointwise, self.norm = nn.Conv2d(12, 24, 1, key=k[2]), nn.GroupNorm(6, 24)
        self.head = nn.Linear(24, 4, key=k[3])

    def __call__(self, x):
        x = jax.nn.relu(self.depthwise(jax.nn.relu(self.first(x))))
        return self.head(jnp.mean(jax.nn.relu(self.norm(self.pointwise(x))), axis=(1, 2)))


class UNet(eqx.Module):
    left: nn.Conv2d
    down: nn.Conv2d
    up: nn.ConvTranspose2d
    right: nn.Conv2d

    def __init__(self):
        k = keys(4)
        self.left = nn.Conv2d(3, 8, 3, padding=1, key=k[0])
        self.down = nn.Conv2d(8, 12, 2, 2, key=k[1])
        self.up = nn.ConvTranspose2d(12, 6, 2, 2, key=k[2])
        self.right = nn.Conv2d(14, 2, 3, padding=1, key=k[3])

    def __call__(self, x):
        x = jax.nn.relu(self.left(x))
        y = jax.nn.relu(self.up(jax.nn.relu(self.down(x))))
        return self.right(jnp.concatenate([x, y]))


class Mixer(eqx.Module):
    embed: nn.Linear
    tokens: nn.MLP
    channels: nn.MLP
    head: nn.Linear

    def __init__(self):
        k = keys(4)
        self.embed, self.head = nn.Linear(12, 16, key=k[0]), nn.Linear(16, 4, key=k[1])
        self.tokens = nn.MLP(9, 9, 20, 1, activation=jax.nn.gelu, key=k[2])
        self.channels = nn.MLP(16, 16, 24, 1, activation=jax.nn.gelu, key=k[3])

    def __call__(self, x):
        x = jax.vmap(self.embed)(x)
        x = x + jax.vmap(self.tokens)(x.T).T
        return self.head(jnp.mean(x + jax.vmap(self.channels)(x), axis=0))


class ViTBlock(eqx.Module):
    embed: nn.Linear
    norms: list
    attention: nn.MultiheadAttention
    feed: nn.MLP
    head: nn.Linear

    def __init__(self):
        k = keys(4)
        self.embed, self.norms = nn.Linear(12, 15, key=k[0]), [nn.LayerNorm(15) for _ in range(2)]
        self.attention = nn.MultiheadAttention(5, 15, use_value_bias=True, key=k[1])
        self.feed = nn.MLP(15, 15, 32, 1, activation=jax.nn.gelu, key=k[2])
        self.head = nn.Linear(15, 4, key=k[3])

    def __call__(self, x):
        x = jax.vmap(self.embed)(x)
        y = jax.vmap(self.norms[0])(x)
        x = x + self.attention(y, y, y)
        x = x + jax.vmap(self.feed)(jax.vmap(self.norms[1])(x))
        return self.head(jnp.mean(x, axis=0))


class OwnAttention(eqx.Module):
    """Heads as an integer of a module of one's own."""

    project: nn.Linear
    back: nn.Linear
    heads: int = eqx.field(static=True)

    def __init__(self):
        k = keys(2)
        self.project, self.back = nn.Linear(6, 36, key=k[0]), nn.Linear(12, 3, key=k[1])
        self.heads = 4

    def __call__(self, x):
        parts = jnp.split(jax.vmap(self.project)(x), 3, axis=-1)
        q, k, v = (part.reshape(len(x), self.heads, -1) for part in parts)
        weights = jax.nn.softmax(jnp.einsum("ihd,jhd->hij", q, k), axis=-1)
        mixed = jnp.einsum("hij,jhd->ihd", weights, v).reshape(len(x), -1)
        return jnp.mean(jax.vmap(self.back)(mixed), axis=0)


class GLU(eqx.Module):
    into: nn.Linear
    out: nn.Linear

    def __init__(self):
        k = keys(2)
        self.into, self.out = nn.Linear(6, 20, key=k[0]), nn.Linear(10, 3, key=k[1])

    def __call__(self, x):
        return self.out(jax.nn.glu(self.into(x)))


class Recurrent(eqx.Module):
    cell: nn.GRUCell
    out: nn.Linear

    def __init__(self):
        k = keys(2)
        self.cell, self.out = nn.GRUCell(3, 8, key=k[0]), nn.Linear(8, 2, key=k[1])

    def __call__(self, x):
        start = jnp.zeros(self.cell.hidden_size, x.dtype)
        last, _ = jax.lax.scan(lambda h, row: (self.cell(row, h), None), start, x)
        return self.out(last)


class Tied(eqx.Module):
    """A language model's tied weights: the table of words is the last layer, too."""

    words: jax.Array
    feed: nn.MLP

    def __init__(self):
        k = keys(2)
        self.words, self.feed = jax.random.normal(k[0], (11, 6)), nn.MLP(6, 6, 13, 1, key=k[1])

    def __call__(self, x):
        return jax.vmap(self.feed)(self.words[x]) @ self.words.T


# The network, an input, and the numbers of nodes of its groups; None: the input has integers.
NETWORKS = {
    "perceptron": (lambda: nn.MLP(3, 2, 8, 2, key=KEY), (3,), (8, 8)),
    "residual": (ResidualMLP, (3,), (8, 16, 16)),
    "lenet": (LeNet5, (1, 28, 28), (6, 10, 30)),
    "vgg": (VGG, (3, 8, 8), (6, 8, 10)),
    "resnet": (ResNet, (3, 6, 6), (4, 4, 4, 8, 8, 8)),
    "separable": (Separable, (3, 10, 10), (12, 6)),
    "unet": (UNet, (3, 8, 8), (8, 12, 6)),
    "mixer": (Mixer, (9, 12), (16, 20, 24)),
    "vit": (ViTBlock, (9, 12), (5, 3, 32)),
    "own attention": (OwnAttention, (7, 6), (4, 3)),
    "glu": (GLU, (6,), (10,)),
    "recurrent": (Recurrent, (7, 3), (8,)),
    "tied": (Tied, None, (6, 13)),
}


@functools.cache
def made(name):
    """A network and an input for it, drawn as one compiled function."""
    make, shape, _ = NETWORKS[name]
    x = jnp.arange(5) if shape is None else jax.random.normal(KEY, shape)
    return eqx.filter_jit(make)(), x
