"""The download of benchmarks, from a server of our own: resumed, checked and unpacked safely."""

import hashlib
import importlib.util
import io
import pickle
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tapvid_fixture import record

from cotracker.data.tapvid import TapVid

SCRIPT = Path(__file__).parents[2] / "scripts" / "download.py"
spec = importlib.util.spec_from_file_location("download", SCRIPT)
download = importlib.util.module_from_spec(spec)
spec.loader.exec_module(download)


def make_zip(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


DAVIS = pickle.dumps({"goat": record()})
GOOD = make_zip(**{"tapvid_davis/tapvid_davis.pkl": DAVIS, "tapvid_davis/README.md": b"read me"})
SHA256 = hashlib.sha256(GOOD).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `data` at /x.zip with `etag`, and cuts its first `cuts` answers after 5000 bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = GOOD
        self.etag = '"1"'
        self.cuts = 0
        self.status = None
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/x.zip"

    def handle_error(self, request, client_address):  # a connection cut on purpose
        pass


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_HEAD(self):
        if self.server.status:
            return self.send_error(self.server.status)
        self.send_headers(200, len(self.server.data))

    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        data = server.data[int(found[1]) if found else 0 :]
        self.send_headers(206 if found else 200, len(data))
        if server.cuts:
            server.cuts -= 1
            data = data[:5000]
        self.wfile.write(data)

    def send_headers(self, status: int, length: int):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", self.server.etag)
        self.end_headers()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(download, "CHUNK", 1000)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as served:
        thread = threading.Thread(
            target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def run(server: Server, out: Path, *more: str) -> int:
    return download.main(["davis", "--out", str(out), "--url", server.url, *more])


def list_files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


COMPLETE = ["downloads.txt", "tapvid_davis/README.md", "tapvid_davis/tapvid_davis.pkl"]


def test_a_benchmark_is_downloaded_once_and_registered(server, tmp_path, capsys):
    assert run(server, tmp_path) == 0
    assert list_files(tmp_path) == COMPLETE and TapVid(tmp_path).names == ["goat"]
    assert (tmp_path / "downloads.txt").read_text() == f"davis.zip {SHA256} {server.url}\n"
    assert run(server, tmp_path) == 0 and len(server.ranges) == 1
    assert f"already in {tmp_path / 'tapvid_davis'}" in capsys.readouterr().out


def test_a_cut_connection_is_resumed(server, tmp_path):
    server.cuts = 3
    assert run(server, tmp_path, "--sha256", SHA256.upper()) == 0
    assert server.ranges == [None, "bytes=5000-", "bytes=10000-", "bytes=15000-"]
    assert list_files(tmp_path) == COMPLETE
    assert (tmp_path / "tapvid_davis" / "tapvid_davis.pkl").read_bytes() == DAVIS


def test_a_later_run_resumes_the_same_version_and_no_other(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.cuts = 1
    assert run(server, tmp_path) == 2
    assert "run again to resume" in capsys.readouterr().err
    server.etag = '"2"'
    server.cuts = 1
    assert run(server, tmp_path) == 2 and server.ranges == [None, None]
    assert run(server, tmp_path) == 0 and server.ranges[2] == "bytes=5000-"


def test_another_content_than_the_registered_one_is_refused(server, tmp_path, capsys):
    assert run(server, tmp_path) == 0
    (tmp_path / "tapvid_davis" / "tapvid_davis.pkl").unlink()
    server.data = make_zip(**{"tapvid_davis/tapvid_davis.pkl": b"another"})
    server.etag = '"2"'
    assert run(server, tmp_path) == 2
    message = capsys.readouterr().err
    assert SHA256 in message and "does not match the known hash" in message
    assert not (tmp_path / "tapvid_davis" / "tapvid_davis.pkl").exists()


@pytest.mark.parametrize("data, words", [
    (make_zip(**{"../outside.txt": b"x", "/outside2.txt": b"x"}), "held no tapvid_davis.pkl"),
    (GOOD[:-9], "no whole zip"),
    (GOOD.replace(b"read me", b"read ME"), "no whole zip"),
])  # fmt: skip
def test_a_wrong_zip_writes_nothing_outside(server, tmp_path, capsys, data, words):
    server.data = data
    out = tmp_path / "deep" / "out"
    assert run(server, out) == 2
    assert words in capsys.readouterr().err
    assert all(path.is_relative_to(out) for path in tmp_path.rglob("*") if path.is_file())
    assert not (out / "tapvid_davis").exists() and not list(out.glob(".cotracker-partial*"))


def test_an_address_that_fails_is_named(server, tmp_path, capsys):
    server.status = 404
    assert run(server, tmp_path) == 2
    assert f"{server.url} answers 404: it may have moved" in capsys.readouterr().err
    server.status = 503
    assert run(server, tmp_path) == 2
    assert f"{server.url} cannot be reached (503" in capsys.readouterr().err


def test_wrong_arguments_are_refused(tmp_path, capsys):
    for words in (["davis", "robotap", "--sha256", "0" * 64], ["davis", "--sha256", "12"]):
        with pytest.raises(SystemExit):
            download.main([*words, "--out", str(tmp_path)])
    assert "12 is not 64 hexadecimal digits" in capsys.readouterr().err
