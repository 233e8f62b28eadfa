"""What the two data sets are: the SHA-256 of every file that is read, and where the files are.

Three tables of one kind: the IDX files decoded, the same files compressed as their authors
published them, and the images embedded in this package.  Nothing else is ever taken for the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SHAPES = {  # small files first: the first one shows whether a mirror answers
    "t10k-labels-idx1-ubyte": (10_000,),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "train-images-idx3-ubyte": (60_000, 28, 28),
}
EMBEDDED = {  # of data/<name>.npz, which `flatness.datasets.embed` writes
    "mnist": "e1824b8a5c00b7a67e33ae6c0f32110954771b3b350702c39e538e31753df71d",
    "fashion-mnist": "3059edb64d5a4b8d8c4d1a5eb0db1394191363eb971fe5114d78c0f103a4585c",
}


class IntegrityError(ValueError):
    """A file is not the one it should be; the message has its name and both hashes."""


@dataclass(frozen=True)
class Archive:
    """One data set: the SHA-256 of its four decoded IDX files (in the order of `SHAPES`), the
    addresses of folders that hold them as ``<file>.gz``, and the SHA-256 of these.
    """

    name: str
    sha256: dict[str, str]
    mirrors: tuple[str, ...]
    compressed: dict[str, str] = field(default_factory=dict)


def _by_file(*digests: str) -> dict[str, str]:
    return dict(zip(SHAPES, digests, strict=True))


ARCHIVES = {
    "mnist": Archive(
        name="mnist",
        sha256=_by_file(
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        mirrors=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        compressed=_by_file(
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
    ),
    "fashion-mnist": Archive(
        name="fashion-mnist",
        sha256=_by_file(
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        compressed=_by_file(
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
    ),
}


def archive(name: str) -> Archive:
    """The `Archive` called `name`; ValueError for any other name."""
    if not isinstance(name, str) or name not in ARCHIVES:
        raise ValueError(f"name: expected one of {', '.join(map(repr, ARCHIVES))}, got {name!r}")
    return ARCHIVES[name]
