"""Fetching from a real local server, and from folders.

The data set of these tests is tiny: its shapes and hashes replace the published ones, nothing else
does.
"""

import gzip
import hashlib
import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from flatness.datasets import archives, download
from flatness.datasets.archives import IntegrityError
from flatness.datasets.download import FetchError

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
    """The four tiny files; "mnist" then means them, has no mirror, and is cached in
    tmp_path/cache.
    """
    files = tiny_files()
    monkeypatch.setattr(download, "SHAPES", TINY)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("FLATNESS_DATA", str(tmp_path / "cache"))
    use_sources(monkeypatch, files)
    return files


def use_sources(monkeypatch, files, mirrors=(), compressed=()):
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    tiny = archives.Archive("mnist", digests, mirrors, dict(compressed))
    monkeypatch.setitem(archives.ARCHIVES, "mnist", tiny)


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
    """serve({path: bytes, or a function of the request}) -> base URL of a server here."""
    servers, over = [], threading.Event()

    def start(content):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                found = content.get(self.path.lstrip("/"))
                try:
                    found(self, over) if callable(found) else answer(self, found)
                except OSError:
                    pass  # the other side has ended

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    over.set()
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request, body, announced=None):
    request.send_response(404 if body is None else 200)
    size = len(body or b"") if announced is None else announced
    request.send_header("Content-Length", str(size))
    request.end_headers()
    request.wfile.write(body or b"")


def byte_by_byte(request, over):
    """Answers at once, and then sends one byte a second."""
    answer(request, b"", announced=1000)
    while not over.wait(1.0):
        request.wfile.write(b"x")


def header_by_byte(request, over):
    """Never ends its headers, and never stalls."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not over.wait(0.2):
        request.wfile.write(b"x")


def silence(request, over):
    over.wait()


def endless(request, over):
    request.send_response(200)
    request.end_headers()
    while not over.is_set():
        request.wfile.write(bytes(1 << 14))


def fetch(**options):
    return download.fetch("mnist", progress=False, **({"report": silent} | options))


def nothing_is_left(tmp_path):
    """Neither a cache nor a temporary folder nor a process."""
    left = [path for path in tmp_path.rglob("*") if path.name != "mine"]
    return not left and str(tmp_path) not in commands()


# ---- mirrors

FIRST = "t10k-labels-idx1-ubyte.gz"


def compressed(files):
    return {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in files.items()}


def hashes(contents):
    """Of the compressed files, as an `Archive` has them."""
    return {
        name.removesuffix(".gz"): hashlib.sha256(data).hexdigest()
        for name, data in contents.items()
    }


def test_mirror(files, serve, monkeypatch, tmp_path):
    whole = compressed(files)
    url = serve(whole)
    use_sources(monkeypatch, files, mirrors=(url,), compressed=hashes(whole))
    lines = []
    assert fetch(report=lines.append) == tmp_path / "cache" / "mnist"
    assert cached(tmp_path) == files  # decoded, complete, and no temporary file left
    assert url in lines[0] and "verified" in lines[-1]
    lines.clear()
    fetch(report=lines.append)
    assert len(lines) == 1 and "already" in lines[0]


def test_redirected_with_a_bar(files, serve, monkeypatch, tmp_path, capfd):
    goal = serve(compressed(files))

    def elsewhere(request, over):
        request.send_response(302)
        request.send_header("Location", goal + request.path.lstrip("/"))
        request.end_headers()

    use_sources(monkeypatch, files, mirrors=(serve(dict.fromkeys(compressed(files), elsewhere)),))
    download.fetch("mnist", report=silent)
    assert cached(tmp_path) == files
    assert "100%" in capfd.readouterr().err


def test_second_mirror_after_missing_and_corrupt_ones(files, serve, monkeypatch, tmp_path):
    whole = compressed(files)
    partial = {name: data for name, data in whole.items() if "train-images" not in name}
    wrong = flip(files["train-images-idx3-ubyte"])
    corrupt = whole | {"train-images-idx3-ubyte.gz": gzip.compress(wrong)}
    use_sources(monkeypatch, files, mirrors=(serve(partial), serve(corrupt), serve(whole)))
    lines = []
    fetch(report=lines.append)
    assert sum("trying" in line for line in lines) == 3
    assert cached(tmp_path) == files


PAGE = b"<!DOCTYPE html><html><body>Please sign in to the network.</body></html>"


def circle(request, over):
    request.send_response(302)
    request.send_header("Location", request.path)
    request.end_headers()


@pytest.mark.parametrize(
    "reply, reason",
    [
        (PAGE, "hash of downloaded file .* does not match the known hash"),
        (gzip.compress(b"other"), "does not match the known hash"),
        (lambda request, over: answer(request, b"abc", 1000), "997 more expected"),
        (None, "404"),
        (circle, "redirects"),
        (endless, "more bytes than the file can have"),
        (lambda request, over: request.wfile.write(b"junk\r\n\r\n"), "junk"),
        (lambda request, over: request.wfile.write(b""), "without response"),
    ],
    ids=["html", "hash", "truncated", "missing", "circle", "endless", "junk", "closed"],
)
def test_what_is_not_the_file(files, serve, monkeypatch, tmp_path, reply, reason):
    whole = compressed(files)
    url = serve(whole | {FIRST: reply})
    use_sources(monkeypatch, files, mirrors=(url,), compressed=hashes(whole))
    with pytest.raises(FetchError, match=reason) as error:
        fetch()
    assert f"{url}: {FIRST}: " in str(error.value)
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("reply", [PAGE, gzip.compress(PAGE), b""])
def test_what_is_not_the_data_where_no_hash_of_the_copy_is_known(
    files, serve, monkeypatch, tmp_path, reply
):
    use_sources(monkeypatch, files, mirrors=(serve(compressed(files) | {FIRST: reply}),))
    with pytest.raises(FetchError, match=f"{FIRST}: refused, not the published mnist file"):
        fetch()
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("reply", [byte_by_byte, header_by_byte, silence])
def test_slow_servers_have_an_end(files, serve, monkeypatch, tmp_path, reply):
    monkeypatch.setattr(download, "START_SECONDS", 1.0)
    use_sources(monkeypatch, files, mirrors=(serve({FIRST: reply}),))
    start = time.monotonic()
    with pytest.raises(FetchError, match=f"{FIRST}: not complete after 1 s"):
        fetch()
    assert time.monotonic() - start < 6
    assert nothing_is_left(tmp_path)


def test_a_name_that_cannot_be_reached(files, monkeypatch, tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    use_sources(monkeypatch, files, mirrors=(f"http://127.0.0.1:{port}/", "nonsense://x/"))
    with pytest.raises(FetchError) as error:
        fetch()
    text = str(error.value)
    assert f"http://127.0.0.1:{port}/: {FIRST}: " in text and "refused" in text
    assert f"nonsense://x/: {FIRST}: " in text and "nonsense" in text
    assert "python -m flatness fetch mnist --from F" in text
    assert all(name in text for name in files)
    assert nothing_is_left(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_fetch_that_is_ended_leaves_no_process_and_no_cache(serve, tmp_path, number):
    url = serve({FIRST: silence})
    program = (
        "from flatness.datasets import archives, download;"
        "old = archives.ARCHIVES['mnist'];"
        f"archives.ARCHIVES['mnist'] = archives.Archive('mnist', old.sha256, ({url!r},));"
        "download.fetch('mnist', progress=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"FLATNESS_DATA": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    end = time.monotonic() + 30
    while not list(tmp_path.glob("flatness-*/*")):  # pooch's temporary file
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    process.wait(20)
    while str(tmp_path) in commands():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert not (tmp_path / "cache").exists()
    assert number == signal.SIGKILL or not list(tmp_path.iterdir())


def commands():
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True)
    return listed.stdout


def test_every_file_has_its_time():
    limits = [download.seconds_for(name) for name in archives.SHAPES]
    assert all(30 < limit < 1000 for limit in limits) and limits == sorted(limits)


# ---- folders and integrity


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_from_folder(files, tmp_path, end, below):
    put(tmp_path / "mine" / below, files, end)
    fetch(folder=tmp_path / "mine")
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
        fetch(folder=folder)
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
        fetch(folder=folder)


def test_missing_file_is_named(files, tmp_path):
    folder = put(tmp_path / "mine", files)
    (folder / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(
        FileNotFoundError, match="neither t10k-images-idx3-ubyte nor t10k-images-.*.gz in"
    ):
        fetch(folder=folder)


def test_corrupt_cache_is_fetched_again(files, serve, monkeypatch, tmp_path):
    url = serve(compressed(files))
    use_sources(monkeypatch, files, mirrors=(url,))
    put(tmp_path / "cache" / "mnist", files | {"t10k-labels-idx1-ubyte": b"junk"})
    lines = []
    fetch(report=lines.append)
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
        fetch(folder=folder)
    left = cached(tmp_path)
    assert len(left) == 2 and all(files[name] == data for name, data in left.items())
    assert not download.is_complete("mnist", download.cache_folder("mnist"))


def test_what_a_killed_copy_left_behind_goes(files, tmp_path):
    folder = put(tmp_path / "mine", files)
    put(tmp_path / "cache" / "mnist", {".train-images-idx3-ubyte.k1x2": b"half"})
    fetch(folder=folder)
    assert cached(tmp_path) == files


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
    twin = archives.Archive("fashion-mnist", archives.archive("mnist").sha256, ())
    monkeypatch.setitem(archives.ARCHIVES, "fashion-mnist", twin)
    put(tmp_path / "mine" / "fashion-mnist", files)
    assert download.main(["all", "--from", str(tmp_path / "mine")]) == 1
    told = capsys.readouterr()
    assert "mnist: neither" in told.err and "fashion-mnist: verified" in told.out
    assert download.main(["mnist"]) == 1
    assert "no mirror has the data" in capsys.readouterr().err


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
def test_every_file_has_its_hashes_and_two_public_addresses(name):
    archive = archives.archive(name)
    assert list(archive.sha256) == list(archive.compressed) == list(archives.SHAPES)
    every = [*archive.sha256.values(), *archive.compressed.values(), archives.EMBEDDED[name]]
    assert len(set(every)) == 9 and all(len(bytes.fromhex(digest)) == 32 for digest in every)
    assert len(archive.mirrors) == 2 and all(m.startswith("https://") for m in archive.mirrors)


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
