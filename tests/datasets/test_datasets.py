"""Data sets: splits, parsing, checksums, the order of places, downloads (loopback only)."""

import gzip
import hashlib
import http.server
import os
import re
import socket
import struct
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pooch
import pytest

from mogp import datasets

NAMES = ("mnist", "fashion-mnist")
STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# A data set of 7 + 4 images of 2 × 3 pixels; both ends of the pixel range occur.
_rng = np.random.RandomState(0)
ARRAYS = {
    STEMS[0]: np.r_[[0, 255], _rng.randint(0, 256, 40)].reshape(7, 2, 3).astype(np.uint8),
    STEMS[1]: np.array([0, 1, 2, 3, 4, 5, 9], np.uint8),
    STEMS[2]: _rng.randint(0, 256, (4, 2, 3)).astype(np.uint8),
    STEMS[3]: np.array([9, 8, 7, 6], np.uint8),
}


def idx(array):
    """The IDX file of an array of bytes, written from the format's description."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


FILES = {stem: idx(array) for stem, array in ARRAYS.items()}
CHECKSUMS = {stem: hashlib.sha256(content).hexdigest() for stem, content in FILES.items()}


def write(folder, files=FILES, *, compress=True):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, content in files.items():
        if compress:
            (folder / f"{stem}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / stem).write_bytes(content)
    return folder


class Places:
    """The five places, all empty, below one temporary folder."""

    def __init__(self, root):
        self.argument, self.environment = root / "argument", root / "environment"
        self.cache, self.debian = root / "cache", root / "debian"
        self.folders = (self.argument, self.environment, self.cache, self.debian)


@pytest.fixture
def places(tmp_path, monkeypatch):
    places = Places(tmp_path)
    monkeypatch.setenv("MOGP_DATA_DIR", str(places.environment))
    monkeypatch.setattr(pooch, "os_cache", lambda _: places.cache)
    monkeypatch.setattr(datasets, "_DEBIAN", places.debian)
    monkeypatch.setattr(datasets, "_CHECKSUMS", dict.fromkeys(NAMES, tuple(CHECKSUMS.values())))
    monkeypatch.setattr(datasets, "_TIMEOUT", 5.0)
    monkeypatch.setattr(datasets, "_MIRRORS", {})  # whoever downloads sets mirrors first
    for variable in ("NO_PROXY", "no_proxy"):  # a proxy of the machine must not see loopback
        monkeypatch.setenv(variable, "127.0.0.1")
    return places


@pytest.fixture
def unreachable(places, monkeypatch):
    """Two mirrors at a port that is taken but does not listen: connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        mirrors = (f"http://127.0.0.1:{port}/first/", f"http://127.0.0.1:{port}/second/")
        monkeypatch.setattr(datasets, "_MIRRORS", dict.fromkeys(NAMES, mirrors))
        yield mirrors


@pytest.fixture
def server(places, monkeypatch):
    """An HTTP server on loopback with two mirrors: `server.files[path] = content`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.requests.append(self.path)
            content = self.server.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            promised = len(content) + self.server.missing.get(self.path, 0)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.missing, server.requests = {}, {}, []
    server.mirrors = tuple(
        f"http://127.0.0.1:{server.server_port}/{mirror}/" for mirror in ("first", "second")
    )
    monkeypatch.setattr(datasets, "_MIRRORS", {"mnist": server.mirrors})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def serve(server, mirror, files=FILES):
    for stem, content in files.items():
        server.files[f"/{mirror}/{stem}.gz"] = gzip.compress(content)


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_synthetic(data):
    for images, stem in ((data.x_train, STEMS[0]), (data.x_test, STEMS[2])):
        expected = (ARRAYS[stem].astype(np.float64) / 255).reshape(len(ARRAYS[stem]), -1)
        assert images.dtype == jnp.float32
        assert images.shape == expected.shape
        np.testing.assert_allclose(images, expected, rtol=1e-7, atol=0)
    for labels, stem in ((data.y_train, STEMS[1]), (data.y_test, STEMS[3])):
        assert labels.dtype == jnp.int32
        np.testing.assert_array_equal(labels, ARRAYS[stem])


# --- digits ---------------------------------------------------------------------------------


def test_digits_shapes_dtypes_and_range():
    data = datasets.load("digits")
    assert isinstance(data, datasets.Dataset)
    assert all(isinstance(part, jax.Array) for part in data)
    assert [part.shape for part in data] == [(1438, 64), (1438,), (359, 64), (359,)]
    assert [part.dtype for part in data] == [jnp.float32, jnp.int32] * 2
    for pixels in (data.x_train, data.x_test):
        assert (float(pixels.min()), float(pixels.max())) == (0, 1)
        grey = np.asarray(pixels) * 16
        np.testing.assert_array_equal(grey, grey.round())


def test_digits_split_is_stratified():
    data = datasets.load("digits")
    train, test = np.bincount(data.y_train), np.bincount(data.y_test)
    np.testing.assert_array_equal(train + test, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    assert np.all(np.abs(test - (train + test) / 5) < 1)


def test_digits_split_is_every_fifth_of_a_class_and_disjoint():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    test = np.sort(np.concatenate([np.flatnonzero(labels == digit)[2::5] for digit in range(10)]))
    train = np.setdiff1d(np.arange(1797), test)
    data = datasets.load("digits")
    np.testing.assert_array_equal(data.x_train, images[train] / 16)
    np.testing.assert_array_equal(data.y_train, labels[train])
    np.testing.assert_array_equal(data.x_test, images[test] / 16)
    np.testing.assert_array_equal(data.y_test, labels[test])
    # No picture occurs twice in the data, so disjoint indices are disjoint pictures.
    both = np.concatenate([data.x_train, data.x_test])
    assert len(np.unique(both, axis=0)) == 1797


def test_digits_split_never_changes():
    data = datasets.load("digits")
    digest = [hashlib.sha256(np.asarray(part, "<f4").tobytes()).hexdigest()[:16] for part in data]
    # A change here changes every published number on digits.
    assert digest == [
        "99a49b426604b375",
        "9894eec1464b9123",
        "89f147f468dd4100",
        "3acd6e2c26cd946d",
    ]


def test_flat_is_the_image_row_after_row():
    flat, image = datasets.load("digits"), datasets.load("digits", flat=False)
    assert image.x_train.shape == (1438, 8, 8)
    assert image.x_test.shape == (359, 8, 8)
    np.testing.assert_array_equal(flat.x_train, image.x_train.reshape(-1, 64))
    np.testing.assert_array_equal(flat.x_test, image.x_test.reshape(-1, 64))
    np.testing.assert_array_equal(flat.y_train, image.y_train)


def test_digits_touches_no_place(places):
    datasets.load("digits", data_dir=places.argument)
    assert not any(folder.exists() for folder in places.folders)


def test_dtypes_do_not_depend_on_the_default_precision():
    with jax.enable_x64(True):
        data = datasets.load("digits")
    assert [part.dtype for part in data] == [jnp.float32, jnp.int32] * 2


@pytest.mark.parametrize("name", ["cifar", "MNIST", "", None])
def test_unknown_name_lists_the_known_ones(name):
    message = f"name: expected one of 'digits', 'mnist', 'fashion-mnist', got {name!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        datasets.load(name)


def test_public_names():
    assert datasets.__all__ == ["DataError", "Dataset", "load"]
    assert datasets.Dataset._fields == ("x_train", "y_train", "x_test", "y_test")


# --- IDX files and places -------------------------------------------------------------------


def test_every_idx_set_has_four_checksums_and_two_mirrors():
    assert tuple(datasets._CHECKSUMS) == tuple(datasets._MIRRORS) == NAMES
    assert datasets._STEMS == STEMS
    for name, checksums in datasets._CHECKSUMS.items():
        assert len(set(checksums)) == 4
        assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in checksums)
        assert len(set(datasets._MIRRORS[name])) == 2
        assert all(mirror.endswith("/") for mirror in datasets._MIRRORS[name])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compress", [True, False])
def test_parses_idx_files(places, name, compress):
    write(places.argument / name, compress=compress)
    assert_synthetic(datasets.load(name, data_dir=places.argument))
    image = datasets.load(name, flat=False, data_dir=str(places.argument))
    assert image.x_train.shape == (7, 2, 3)
    assert image.x_test.shape == (4, 2, 3)
    np.testing.assert_allclose(image.x_train[3], ARRAYS[STEMS[0]][3] / 255.0, rtol=1e-7)
    assert (float(image.x_train.min()), float(image.x_train.max())) == (0, 1)


def test_gzip_is_recognised_by_content_not_by_name(places):
    folder = write(places.argument / "mnist")
    (folder / f"{STEMS[0]}.gz").write_bytes(FILES[STEMS[0]])
    (folder / f"{STEMS[1]}.gz").replace(folder / STEMS[1])
    assert_synthetic(datasets.load("mnist", data_dir=places.argument))


@pytest.mark.parametrize("first", range(4))
def test_order_of_places(places, first):
    """From `first` on, all places are complete but only the first is whole: it alone is read."""
    order = places.folders
    write(order[first] / "mnist")
    for later in order[first + 1 :]:
        write(later / "mnist", dict.fromkeys(STEMS, b"altered"))
    assert_synthetic(datasets.load("mnist", data_dir=places.argument))


@pytest.mark.parametrize("first", range(4))
def test_an_altered_file_is_an_error_though_a_later_place_has_a_good_one(places, first):
    order = places.folders
    write(order[first] / "mnist", dict.fromkeys(STEMS, b"altered"))
    for later in order[first + 1 :]:
        write(later / "mnist")
    with pytest.raises(datasets.DataError, match=re.escape(str(order[first]))):
        datasets.load("mnist", data_dir=places.argument)


def test_a_file_missing_in_one_place_comes_from_the_next(places):
    write(places.argument / "mnist", {stem: FILES[stem] for stem in STEMS[:1]})
    write(places.environment / "mnist", {stem: FILES[stem] for stem in STEMS[1:2]}, compress=False)
    write(places.debian / "mnist", {stem: FILES[stem] for stem in STEMS[2:]})
    assert_synthetic(datasets.load("mnist", data_dir=places.argument))


def test_without_argument_or_with_an_empty_variable_the_next_place_is_taken(places, monkeypatch):
    write(places.environment / "mnist")
    assert_synthetic(datasets.load("mnist"))
    monkeypatch.setenv("MOGP_DATA_DIR", "")  # must not mean the current folder
    monkeypatch.chdir(write(places.argument / "mnist", dict.fromkeys(STEMS, b"altered")).parent)
    write(places.cache / "mnist")
    assert_synthetic(datasets.load("mnist"))


def test_a_tilde_is_the_home_folder(places, monkeypatch):
    monkeypatch.setenv("HOME", str(places.argument))
    monkeypatch.setenv("USERPROFILE", str(places.argument))
    write(places.argument / "data" / "mnist")
    assert_synthetic(datasets.load("mnist", data_dir="~/data"))


# --- bad and missing files ------------------------------------------------------------------


@pytest.mark.parametrize("kept", [5, 30, -1])
@pytest.mark.parametrize("stem", STEMS)
def test_truncated_gzip(places, stem, kept):
    file = write(places.environment / "mnist") / f"{stem}.gz"
    whole = file.read_bytes()
    file.write_bytes(whole[:kept])
    with pytest.raises(datasets.DataError) as caught:
        datasets.load("mnist")
    message = str(caught.value)
    assert message.startswith(f"{file}: expected a file whose decompressed content has SHA-256 ")
    assert CHECKSUMS[stem] in message
    size = len(whole[:kept])
    assert f"got a truncated or damaged gzip file of {size} bytes" in message
    assert message.endswith("; delete or replace this file")
    assert "\n" not in message


def test_damaged_gzip(places):
    file = write(places.environment / "mnist") / f"{STEMS[0]}.gz"
    content = bytearray(file.read_bytes())
    content[-6] ^= 1  # the stored CRC
    file.write_bytes(content)
    with pytest.raises(datasets.DataError, match=r"damaged gzip file .*CRC"):
        datasets.load("mnist")
    content[10:] = b"\xff" * (len(content) - 10)  # no deflate stream at all
    file.write_bytes(content)
    with pytest.raises(datasets.DataError, match=r"damaged gzip file .*Error -3"):
        datasets.load("mnist")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("stem", STEMS)
def test_altered_content(places, stem, compress):
    altered = bytearray(FILES[stem])
    altered[-1] ^= 1
    folder = write(places.environment / "mnist", {**FILES, stem: bytes(altered)}, compress=compress)
    with pytest.raises(datasets.DataError) as caught:
        datasets.load("mnist")
    assert str(caught.value) == (
        f"{folder / stem}{'.gz' if compress else ''}: expected a file whose decompressed content "
        f"has SHA-256 {CHECKSUMS[stem]}, got {len(altered)} bytes with SHA-256 "
        f"{hashlib.sha256(altered).hexdigest()}; delete or replace this file"
    )


def test_empty_file(places):
    (write(places.environment / "mnist") / f"{STEMS[0]}.gz").write_bytes(b"")
    with pytest.raises(datasets.DataError, match="got 0 bytes with SHA-256"):
        datasets.load("mnist")


def test_missing_file_lists_every_place_and_says_what_to_do(places, unreachable):
    write(places.argument / "mnist", {stem: FILES[stem] for stem in STEMS[:3]})
    with pytest.raises(datasets.DataError) as caught:
        datasets.load("mnist", data_dir=places.argument)
    message = str(caught.value)
    assert message.startswith(f"mnist: {STEMS[3]}.gz not found in ")
    looked = [str(folder / "mnist") for folder in places.folders]
    assert f"not found in {', '.join(looked)}, and not downloaded: " in message
    for mirror in unreachable:
        assert f"{mirror}{STEMS[3]}.gz (" in message
    assert "refused" in message
    assert message.endswith(
        "Put the file, with or without .gz, in a folder D/mnist and pass data_dir=D or set the "
        "environment variable MOGP_DATA_DIR=D"
    )
    assert "\n" not in message
    assert below(places.cache) == []


def test_places_not_given_are_not_listed(places, unreachable, monkeypatch):
    monkeypatch.delenv("MOGP_DATA_DIR")
    with pytest.raises(datasets.DataError) as caught:
        datasets.load("fashion-mnist")
    looked = f"{places.cache / 'fashion-mnist'}, {places.debian / 'fashion-mnist'}"
    assert f"not found in {looked}, and not downloaded: " in str(caught.value)


# --- downloads ------------------------------------------------------------------------------


def test_downloads_once_into_the_cache(places, server):
    serve(server, "first")
    assert_synthetic(datasets.load("mnist"))
    assert server.requests == [f"/first/{stem}.gz" for stem in STEMS]
    assert below(places.cache) == sorted(f"mnist/{stem}.gz" for stem in STEMS)
    assert_synthetic(datasets.load("mnist"))
    assert len(server.requests) == 4
    assert not places.argument.exists()
    assert not places.environment.exists()


def test_downloads_only_what_is_missing(places, server):
    write(places.environment / "mnist", {stem: FILES[stem] for stem in STEMS[:3]})
    serve(server, "first")
    assert_synthetic(datasets.load("mnist"))
    assert server.requests == [f"/first/{STEMS[3]}.gz"]
    assert below(places.cache) == [f"mnist/{STEMS[3]}.gz"]


def test_second_mirror_when_the_first_lacks_the_file(places, server, caplog):
    serve(server, "second")
    assert_synthetic(datasets.load("mnist"))
    requests = [f"/{mirror}/{stem}.gz" for stem in STEMS for mirror in ("first", "second")]
    assert server.requests == requests
    assert below(places.cache) == sorted(f"mnist/{stem}.gz" for stem in STEMS)
    warnings = [record for record in caplog.records if record.name == "mogp.datasets"]
    assert len(warnings) == 4
    assert all("404" in record.getMessage() for record in warnings)


def test_second_mirror_when_the_first_sends_something_else(places, server):
    serve(server, "first", dict.fromkeys(STEMS, b"<html>please log in</html>"))
    serve(server, "second")
    assert_synthetic(datasets.load("mnist"))
    assert len(server.requests) == 8
    for stem in STEMS:
        content = gzip.decompress((places.cache / "mnist" / f"{stem}.gz").read_bytes())
        assert content == FILES[stem]


def test_second_mirror_when_the_first_breaks_off(places, server):
    serve(server, "first")
    serve(server, "second")
    for stem in STEMS:
        path = f"/first/{stem}.gz"
        server.missing[path] = 7
        server.files[path] = server.files[path][:-7]
    assert_synthetic(datasets.load("mnist"))
    assert len(server.requests) == 8


def test_wrong_content_from_both_mirrors_leaves_nothing_in_the_cache(places, server):
    serve(server, "first", dict.fromkeys(STEMS, b"altered"))
    serve(server, "second")
    server.files[f"/second/{STEMS[0]}.gz"] = gzip.compress(FILES[STEMS[0]])[:-9]
    with pytest.raises(datasets.DataError) as caught:
        datasets.load("mnist")
    message = str(caught.value)
    assert message.startswith(f"mnist: {STEMS[0]}.gz not found in ")
    first, second = (re.escape(f"{mirror}{STEMS[0]}.gz") for mirror in server.mirrors)
    altered = hashlib.sha256(b"altered").hexdigest()
    assert re.search(rf"{first} \(expected .*{CHECKSUMS[STEMS[0]]}, got .*{altered}\); ", message)
    assert re.search(rf"{second} \(expected .*, got a truncated .* bytes \(.*\)\)\. Put", message)
    assert list((places.cache / "mnist").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(places, server):
    serve(server, "first")
    places.cache.write_bytes(b"a file where the cache folder should be")
    with pytest.raises(datasets.DataError) as caught:
        datasets.load("mnist")
    assert f"the cache {places.cache / 'mnist'} cannot be written (" in str(caught.value)
    assert server.requests == []


# --- the real files -------------------------------------------------------------------------

REAL = os.environ.get("MOGP_DATA_DIR", "")
MNIST_TRAIN = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
MNIST_TEST = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.skipif(not REAL, reason="needs the real files: set MOGP_DATA_DIR")
@pytest.mark.parametrize(
    ("name", "train", "test", "mean"),
    [  # The mean training pixel as printed in countless tutorials, to their four digits.
        ("mnist", MNIST_TRAIN, MNIST_TEST, 0.1307),
        ("fashion-mnist", [6000] * 10, [1000] * 10, 0.2860),
    ],
)
def test_real_files(name, train, test, mean, monkeypatch):
    monkeypatch.setattr(
        datasets, "_MIRRORS", {name: ()}
    )  # a missing file must not start a download
    data = datasets.load(name, flat=False, data_dir=Path(REAL))
    assert [part.dtype for part in data] == [jnp.float32, jnp.int32] * 2
    assert data.x_train.shape == (60000, 28, 28)
    assert data.x_test.shape == (10000, 28, 28)
    np.testing.assert_array_equal(np.bincount(data.y_train), train)
    np.testing.assert_array_equal(np.bincount(data.y_test), test)
    assert abs(np.asarray(data.x_train).mean(dtype=np.float64) - mean) < 5e-5
    assert (float(data.x_train.min()), float(data.x_train.max())) == (0, 1)


# --- sizes and mirrors ----------------------------------------------------------------------------


def test_every_mirror_is_encrypted():
    for mirrors in datasets._MIRRORS.values():
        assert all(mirror.startswith("https://") for mirror in mirrors)


def test_nothing_is_decompressed_beyond_the_size_of_a_data_file(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_LIMIT", 1000)
    bomb, large = tmp_path / "bomb.gz", tmp_path / "large"
    bomb.write_bytes(gzip.compress(bytes(10**5)))
    large.write_bytes(bytes(1001))
    with pytest.raises(datasets.DataError, match="a gzip file of more than 1000 bytes inside"):
        datasets._read(bomb, "0" * 64)
    with pytest.raises(datasets.DataError, match="got 1001 bytes, more than the 1000 of any data"):
        datasets._read(large, "0" * 64)


def test_the_limit_is_above_every_file():
    """Images of 28 × 28, and 16 bytes of header."""
    assert datasets._LIMIT > 60_000 * 28 * 28 + 16
