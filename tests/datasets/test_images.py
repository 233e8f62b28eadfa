"""The paper's splits: indices against a plain recomputation, images against the published files."""

import hashlib
import shutil

import numpy as np
import pytest
import torch

from flatness.datasets import archives, download, embed, images, pools
from flatness.datasets.images import child_indices, load, unseen_pool
from flatness.datasets.pools import MissingImages, embedded_pool, load_pool

COVERED = [
    (name, n, seed)
    for name, sizes in embed.COVERED.items()
    for n, seeds in sizes.items()
    for seed in seeds
]
PINNED_CHILD = [37542, 43087, 2992, 25810, 39634]
PINNED_PROBES = [43587, 11793, 4644, 51204, 6625]
PINNED_CONTENT = {  # SHA-256
    "mnist": "d9844e7aebd115414959972fd3b126d067d64e4161cf24dece2db5774320e6bf",
    "fashion-mnist": "7355bfee96d193fbe30da33700cccd86e85f67e11b12ef7876ee9d5614f02e27",
}


def permutation(n, seed):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


# ---- indices


@pytest.mark.parametrize(
    "n, size",
    [
        (1, 69_999),
        (250, 69_750),
        (12_000, 58_000),
        (23_999, 46_001),
        (24_000, 36_000),
        (30_000, 30_000),
        (60_000, 10_000),
    ],
)
def test_unseen_pool_by_plain_lists(n, size):
    child = permutation(60_000, 42)[:n]
    assert child_indices(n).tolist() == child
    seen = set(child)
    rest, test = [i for i in range(60_000) if i not in seen], list(range(60_000, 70_000))
    expected = rest + test if n < 24_000 else rest if n < 60_000 else test
    assert unseen_pool(n).tolist() == expected
    assert len(expected) == size


@pytest.mark.parametrize("n, seed", [(250, 99), (250, 103), (500, 99)])
def test_split_indices(n, seed):
    split = load("mnist", n, seed_probes=seed)
    child = permutation(60_000, 42)[:n]
    unseen = [i for i in range(60_000) if i not in set(child)] + list(range(60_000, 70_000))
    assert split.train.index.tolist() == child
    assert split.unseen.tolist() == unseen
    assert split.probes.index.tolist() == [unseen[i] for i in permutation(len(unseen), seed)[:100]]
    assert split.test.index.tolist() == list(range(60_000, 70_000))


def test_the_papers_split_is_pinned():
    """The first indices as torch draws them today: another generator is another experiment."""
    split = load("mnist")
    assert split.train.index[:5].tolist() == PINNED_CHILD
    assert split.probes.index[:5].tolist() == PINNED_PROBES


# ---- embedded images


@pytest.mark.parametrize("name, n, seed", COVERED)
def test_every_covered_split_is_embedded(name, n, seed):
    pool = embedded_pool(name)
    unseen = unseen_pool(n)
    assert len(pool.missing(child_indices(n))) == 0
    assert len(pool.missing(unseen[images.probe_positions(len(unseen), 100, seed)])) == 0


@pytest.mark.parametrize("name, n", [("mnist", 2000), ("fashion-mnist", 1000)])
def test_load_embedded(name, n, monkeypatch, tmp_path):
    monkeypatch.setenv("FLATNESS_DATA", str(tmp_path))  # nothing is cached there
    split = load(name, n)
    assert (split.name, split.source) == (name, "embedded")
    for points, size in ((split.train, n), (split.probes, 100), (split.test, 10_000)):
        assert points.x.shape == (size, 784) and points.x.dtype == torch.float64
        assert points.y.shape == (size,) and points.y.dtype == torch.int64
        assert 0 <= points.x.min() and points.x.max() == 1
        assert set(points.y.tolist()) == set(range(10))


@pytest.mark.parametrize("name", images.NAMES)
def test_embedded_test_set_is_the_published_file(name):
    """The embedded test images and labels, written as IDX files, have the published SHA-256."""
    pool = embedded_pool(name)
    row = pool.row[60_000:]
    image_header = bytes(
        [0, 0, 8, 3, 0, 0, 39, 16, 0, 0, 0, 28, 0, 0, 0, 28]
    )  # 39 * 256 + 16 = 10000
    image_file = image_header + pool.images[row].numpy().tobytes()
    label_file = bytes([0, 0, 8, 1, 0, 0, 39, 16]) + pool.labels[row].numpy().tobytes()
    expected = archives.archive(name).sha256
    assert hashlib.sha256(image_file).hexdigest() == expected["t10k-images-idx3-ubyte"]
    assert hashlib.sha256(label_file).hexdigest() == expected["t10k-labels-idx1-ubyte"]


@pytest.mark.parametrize("name", images.NAMES)
def test_embedded_arrays_are_pinned(name):
    """Index, images and labels as cut out of the hash-checked full data (the last test compares
    again).
    """
    pool = embedded_pool(name)
    held = embed.covered_indices(name)
    assert (pool.row >= 0).nonzero().squeeze(1).equal(held) and len(pool.images) == len(held)
    content = pool.images.numpy().tobytes() + pool.labels.numpy().tobytes()
    assert hashlib.sha256(content).hexdigest() == PINNED_CONTENT[name]


@pytest.fixture
def copies(monkeypatch, tmp_path):
    """The package's data in a folder of the test's own, which is read in its place."""
    shutil.copytree(pools.files("flatness.datasets") / "data", tmp_path / "data")
    monkeypatch.setattr(pools, "files", lambda room: tmp_path)
    embedded_pool.cache_clear()
    yield tmp_path / "data"
    embedded_pool.cache_clear()


def other_pixel(path):
    """The archive with one pixel of one image changed, well-formed."""
    with np.load(path, allow_pickle=False) as arrays:
        content = dict(arrays)
    content["images"][0, 400] ^= 1
    np.savez_compressed(path, **content)


@pytest.mark.parametrize(
    "replace",
    [
        other_pixel,
        lambda path: shutil.copy(path.with_name("fashion-mnist.npz"), path),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(b""),
    ],
)
def test_replaced_embedded_images_are_refused_by_name(copies, replace):
    assert embedded_pool("mnist").source == "embedded"
    embedded_pool.cache_clear()
    replace(copies / "mnist.npz")
    with pytest.raises(archives.IntegrityError, match=r"mnist\.npz: refused, .* expected e1824b8a"):
        load("mnist")


def test_embedded_files_are_small():
    folder = pools.files("flatness.datasets") / "data"
    assert sum((folder / f"{name}.npz").stat().st_size for name in images.NAMES) < 10e6


def test_pixels_are_divided_by_255_in_the_dtype_asked_for():
    pool = embedded_pool("mnist")
    index = child_indices(50)
    raw = pool.images[pool.row[index]].numpy()
    for dtype, numpy_dtype in ((torch.float64, np.float64), (torch.float32, np.float32)):
        x = load("mnist", 50, num_probes=0, dtype=dtype).train.x
        np.testing.assert_array_equal(x.numpy(), raw.astype(numpy_dtype) / numpy_dtype(255))


def test_splits_do_not_share_memory_with_the_pool():
    load("mnist", 100).train.x.zero_()
    assert load("mnist", 100).train.x.max() == 1


def test_no_probes():
    split = load("mnist", 1234, num_probes=0)
    assert split.probes.x.shape == (0, 784) and split.source == "embedded"


# ---- the full data, stood in for by images that carry their own index


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """A folder of IDX files whose image i begins with the three low bytes of i and has label i mod
    10.
    """
    folder = tmp_path_factory.mktemp("numbered")
    index = np.arange(70_000, dtype=np.uint32)
    pixels = np.zeros((70_000, 784), np.uint8)
    pixels[:, :3] = index[:, None] >> np.array([16, 8, 0], np.uint32) & 255
    labels = (index % 10).astype(np.uint8)
    digests = {}
    for name, shape in archives.SHAPES.items():
        part = slice(60_000) if name.startswith("train") else slice(60_000, 70_000)
        header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
        data = header + (pixels if "images" in name else labels)[part].tobytes()
        (folder / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    return folder, digests


@pytest.fixture
def numbered_mnist(numbered, monkeypatch):
    folder, digests = numbered
    monkeypatch.setitem(archives.ARCHIVES, "mnist", archives.Archive("mnist", digests, ()))
    pools._full_pool.cache_clear()
    yield folder
    pools._full_pool.cache_clear()


def carried(x):
    return (torch.round(x[:, :3] * 255).long() * torch.tensor([65536, 256, 1])).sum(1)


@pytest.mark.parametrize("n, seed_child", [(6_000, 42), (24_000, 42), (250, 7)])
def test_images_from_a_folder_are_the_indexed_ones(numbered_mnist, n, seed_child):
    split = load("mnist", n, seed_child=seed_child, data=numbered_mnist)
    assert split.source == "full"
    for points in (split.train, split.probes, split.test):
        assert carried(points.x).equal(points.index) and (points.y == points.index % 10).all()
    assert not np.isin(split.probes.index, split.train.index).any()
    assert np.isin(split.probes.index, split.unseen).all()


def test_unseen_images_come_in_chunks(numbered_mnist):
    pool = load_pool("mnist", numbered_mnist)
    unseen = unseen_pool(60_000)
    chunks = list(pool.chunks(unseen, size=3_000, dtype=torch.float32))
    assert [len(chunk.x) for chunk in chunks] == [3_000, 3_000, 3_000, 1_000]
    assert torch.cat([carried(chunk.x) for chunk in chunks]).equal(unseen)
    assert all(chunk.x.dtype == torch.float32 for chunk in chunks)


def test_what_is_not_embedded_comes_from_the_cache(numbered_mnist, monkeypatch, tmp_path):
    (tmp_path / "mnist").symlink_to(numbered_mnist)
    monkeypatch.setenv("FLATNESS_DATA", str(tmp_path))
    assert load("mnist", 2_000).source == "embedded"
    assert load("mnist", 3_000).source == "full"


def test_damaged_full_data_is_refused(numbered_mnist, monkeypatch):
    wrong = dict(archives.archive("mnist").sha256) | {"train-labels-idx1-ubyte": "0" * 64}
    monkeypatch.setitem(archives.ARCHIVES, "mnist", archives.Archive("mnist", wrong, ()))
    with pytest.raises(archives.IntegrityError, match="train-labels-idx1-ubyte: refused"):
        load("mnist", 6_000, data=numbered_mnist)


def test_embed_cuts_out_the_covered_images(numbered_mnist, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(embed, "COVERED", {"mnist": {100: [99]}})
    embed.main(["--from", str(numbered_mnist), "--to", str(tmp_path)])
    assert "mnist.npz" in capsys.readouterr().out
    with np.load(tmp_path / "mnist.npz", allow_pickle=False) as arrays:
        index, pixels, labels = arrays["index"], arrays["images"], arrays["labels"]
    assert 10_100 < len(index) <= 10_200 and (np.diff(index) > 0).all()
    assert carried(torch.from_numpy(pixels) / 255).numpy().tolist() == index.tolist()
    assert (labels == index % 10).all()


# ---- what is refused


def test_missing_images_say_what_and_how(monkeypatch, tmp_path):
    monkeypatch.setenv("FLATNESS_DATA", str(tmp_path))
    with pytest.raises(MissingImages) as error:
        load("mnist", 6_000)
    text = str(error.value)
    assert "of the 6,000 training images" in text and "of the 100 probe points" in text
    assert str(tmp_path / "mnist") in text and text.endswith("python -m flatness fetch mnist")
    with pytest.raises(MissingImages, match="fetch fashion-mnist"):
        load_pool("fashion-mnist")
    with pytest.raises(MissingImages, match="must hold the four files"):
        load("mnist", data=tmp_path)
    with pytest.raises(MissingImages, match="1 of the 2 images asked for"):
        absent = (embedded_pool("mnist").row < 0).nonzero()[0]
        embedded_pool("mnist").points(torch.cat([absent, torch.tensor([60_000])]))


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"name": "cifar"}, ValueError, "name: expected one of"),
        ({"name": "../mnist"}, ValueError, "name: expected one of"),
        ({"n_child": 0}, ValueError, "n_child"),
        ({"n_child": 60_001}, ValueError, "n_child"),
        ({"n_child": 250.0}, TypeError, "n_child"),
        ({"n_child": True}, TypeError, "n_child"),
        ({"num_probes": -1}, ValueError, "num_probes"),
        ({"num_probes": 69_751}, ValueError, "num_probes"),
        ({"seed_child": "42"}, TypeError, "seed_child"),
        ({"seed_probes": None}, TypeError, "seed_probes"),
        ({"dtype": torch.uint8}, TypeError, "dtype"),
        ({"dtype": "float64"}, TypeError, "dtype"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        load(**{"name": "mnist", **arguments})


@pytest.mark.parametrize("index", [[-1], [70_000], [1.0], 60_000, [[60_000]]])
def test_bad_indices(index):
    with pytest.raises(ValueError, match="index: expected"):
        embedded_pool("mnist").points(torch.tensor(index))


def test_bad_chunk_size():
    with pytest.raises(ValueError, match="size"):
        next(embedded_pool("mnist").chunks(torch.arange(60_000, 60_010), size=0))


# ---- with the full data at hand


@pytest.mark.parametrize("name", images.NAMES)
def test_embedded_images_are_those_of_the_full_data(name):
    if not download.is_complete(name, download.cache_folder(name)):
        pytest.skip(f"full {name} is not cached: python -m flatness fetch {name}")
    full, small = load_pool(name), embedded_pool(name)
    held = embed.covered_indices(name)
    assert full.images[held].equal(small.images[small.row[held]])
    assert full.labels[held].equal(small.labels[small.row[held]])
