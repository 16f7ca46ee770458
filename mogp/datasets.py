"""Small image data sets with fixed training and test parts, checked byte for byte.

`load` is the only function most people need. *digits* comes with scikit-learn and needs no
network; *mnist* and *fashion-mnist* are read from a folder of yours or downloaded once.
"""

import gzip
import hashlib
import logging
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

__all__ = ["DataError", "Dataset", "load"]

_logger = logging.getLogger(__name__)

_DEBIAN = Path("/usr/share/datasets")  # where Debian's `dataset-fashion-mnist` puts its files
_TIMEOUT = 30.0  # seconds without an answer before the next mirror is tried

_MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
}

# In the order of `Dataset`.
_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# SHA-256 of the decompressed files. The compressed ones differ from mirror to mirror (gzip
# stores a name and a time), so their checksums would prove nothing.
_CHECKSUMS = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion-mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}

NAMES = ("digits", *_CHECKSUMS)  # of the data sets
# The largest file has 47 MB; nothing is decompressed beyond this.
_LIMIT = 2**26


class DataError(Exception):
    """A data file is missing, cannot be downloaded, or is not the file it should be.

    Example:
        >>> from mogp import datasets
        >>> issubclass(datasets.DataError, Exception)
        True
    """


class Dataset(NamedTuple):
    """Images and labels, in a training and a test part.

    Attributes:
        x_train: Training pixels, float32 in [0, 1], shape `(n, h*w)` or `(n, h, w)`.
        y_train: Training labels, int32 in 0, …, 9, shape `(n,)`.
        x_test: Test pixels, as `x_train`, with `m` rows.
        y_test: Test labels, as `y_train`, shape `(m,)`.
    """

    x_train: Float[jax.Array, "n *image"]
    y_train: Int[jax.Array, " n"]
    x_test: Float[jax.Array, "m *image"]
    y_test: Int[jax.Array, " m"]


def load(
    name: str, *, flat: bool = True, data_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Loads a data set of images in ten classes, always split in the same way.

    | name              | images  | training | test   | split                          |
    |-------------------|---------|----------|--------|--------------------------------|
    | `"digits"`        | 8 × 8   | 1 438    | 359    | every fifth image of its class |
    | `"mnist"`         | 28 × 28 | 60 000   | 10 000 | the authors'                   |
    | `"fashion-mnist"` | 28 × 28 | 60 000   | 10 000 | the authors'                   |

    *digits* is scikit-learn's `load_digits`, pixels divided by 16. Of the images of one class,
    in their original order, the third, eighth, thirteenth, … go to the test part: classes are
    equally frequent in both parts and nothing is drawn at random. The same people wrote both
    parts, so the test error says nothing about writers unseen in training.

    The other two come from four IDX files (`train-images-idx3-ubyte`, …), with or without
    `.gz`; pixels are divided by 255. Each file is looked for in, one after the other,
    `<data_dir>/<name>/`, `$MOGP_DATA_DIR/<name>/`, the cache `pooch.os_cache("mogp")/<name>/`
    and `/usr/share/datasets/<name>/` (Debian's packages), and if it is in none of them it is
    downloaded into the cache (11 MB for *mnist*, 30 MB for *fashion-mnist*). Whatever the
    place, a file is used only if the SHA-256 of its decompressed content is the published one.

    Args:
        name: `"digits"`, `"mnist"` or `"fashion-mnist"`.
        flat: Whether an image is one row of `h*w` pixels, row after row of the image, instead
            of an `(h, w)` array.
        data_dir: The folder searched first; it holds a folder named `name`. Not used for
            *digits*.

    Returns:
        A `Dataset`: pixels float32 in [0, 1], labels int32, whatever JAX's default precision.

    Raises:
        ValueError: If `name` is none of the above.
        DataError: If a file is nowhere to be found and no mirror delivers it, or if the first
            one found is truncated or altered (later places are not tried then).

    Example:
        >>> from mogp import datasets
        >>> data = datasets.load("digits")
        >>> data.x_train.shape, data.x_test.shape
        ((1438, 64), (359, 64))
        >>> datasets.load("digits", flat=False).x_train.shape
        (1438, 8, 8)

    References:
        *digits*: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits,
        UCI Machine Learning Repository (its test part). *mnist*: Y. LeCun, L. Bottou,
        Y. Bengio and P. Haffner (1998), Gradient-based learning applied to document
        recognition, Proceedings of the IEEE 86. *fashion-mnist*: H. Xiao, K. Rasul and
        R. Vollgraf (2017), arXiv:1708.07747.
    """
    if name not in NAMES:
        raise ValueError(f"name: expected one of {', '.join(map(repr, NAMES))}, got {name!r}")
    if name == "digits":
        white = 16
        x_train, y_train, x_test, y_test = _digits()
    else:
        white = 255
        x_train, y_train, x_test, y_test = (
            _parse_idx(_find(name, stem, checksum, data_dir))
            for stem, checksum in zip(_STEMS, _CHECKSUMS[name], strict=True)
        )

    def pixels(images: np.ndarray[Any, Any]) -> jax.Array:
        shape = (len(images), -1) if flat else images.shape
        return jnp.asarray(np.divide(images, white, dtype=np.float32).reshape(shape))

    def labels(classes: np.ndarray[Any, Any]) -> jax.Array:
        return jnp.asarray(classes.astype(np.int32))

    return Dataset(pixels(x_train), labels(y_train), pixels(x_test), labels(y_test))


def _digits() -> tuple[np.ndarray[Any, Any], ...]:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped, unused-ignore]

    bunch = load_digits()
    images, labels = bunch.images, bunch.target
    seen = np.cumsum(labels[:, None] == np.arange(10), axis=0)  # of each class, so far
    test = seen[np.arange(len(labels)), labels] % 5 == 3
    return images[~test], labels[~test], images[test], labels[test]


def _parse_idx(content: bytes) -> np.ndarray[Any, Any]:
    # Two zero bytes, the type (8: unsigned byte), the number of axes, their big-endian lengths.
    # Nothing is checked here: the checksum has vouched for every byte.
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def _find(name: str, stem: str, checksum: str, data_dir: str | os.PathLike[str] | None) -> bytes:
    import pooch  # type: ignore[import-untyped, unused-ignore]

    cache = Path(pooch.os_cache("mogp"))
    roots = (data_dir, os.environ.get("MOGP_DATA_DIR"), cache, _DEBIAN)
    folders = [Path(root).expanduser() / name for root in roots if root]
    for folder in folders:
        for file in (folder / f"{stem}.gz", folder / stem):
            if file.is_file():
                try:
                    return _read(file, checksum)
                except (DataError, OSError) as error:
                    raise DataError(f"{file}: {error}; delete or replace this file") from error
    return _download(name, stem, checksum, cache / name, folders)


def _read(file: Path, checksum: str) -> bytes:
    expected = f"expected a file whose decompressed content has SHA-256 {checksum}"
    if (size := file.stat().st_size) > _LIMIT:
        raise DataError(f"{expected}, got {size} bytes, more than the {_LIMIT} of any data file")
    content = file.read_bytes()
    if content.startswith(b"\x1f\x8b"):  # gzip, whatever the file is called
        try:
            with gzip.open(file) as packed:
                content = packed.read(_LIMIT + 1)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            came = f"a truncated or damaged gzip file of {len(content)} bytes"
            raise DataError(f"{expected}, got {came} ({error})") from error
        if len(content) > _LIMIT:
            raise DataError(f"{expected}, got a gzip file of more than {_LIMIT} bytes inside")
    found = hashlib.sha256(content).hexdigest()
    if found != checksum:
        raise DataError(f"{expected}, got {len(content)} bytes with SHA-256 {found}")
    return content


def _download(name: str, stem: str, checksum: str, cache: Path, folders: list[Path]) -> bytes:
    import pooch  # type: ignore[import-untyped, unused-ignore]

    # Called directly, pooch's downloader logs and prints nothing. Without `stream` it closes its
    # connection also when the server answers with an error.
    fetch = pooch.HTTPDownloader(chunk_size=2**20, stream=False, timeout=_TIMEOUT)
    target = cache / f"{stem}.gz"
    failures = []
    try:
        cache.mkdir(parents=True, exist_ok=True)
        # In the cache folder, so that `os.replace` stays on one disk and is atomic: readers and
        # other downloads see the whole, verified file or none.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as scratch:
            part = Path(scratch) / target.name
            for mirror in _MIRRORS[name]:
                url = mirror + target.name
                _logger.info("downloading %s", url)
                try:
                    fetch(url, part, None)
                    content = _read(part, checksum)
                except (OSError, DataError) as error:
                    failures.append(f"{url} ({error})")
                    _logger.warning("download failed: %s", failures[-1])
                else:
                    Path(part).replace(target)
                    return content
    except OSError as error:
        failures.append(f"the cache {cache} cannot be written ({error})")
    raise DataError(
        f"{name}: {stem}.gz not found in {', '.join(map(str, folders))}, and not downloaded: "
        f"{'; '.join(failures)}. Put the file, with or without .gz, in a folder D/{name} and "
        f"pass data_dir=D or set the environment variable MOGP_DATA_DIR=D"
    )
