"""The download of benchmarks, from a server of our own: resumed, checked, unpacked safely, refused in a sentence."""

import hashlib
import importlib.util
import io
import json
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


def zipped(**members: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


DAVIS = pickle.dumps({"goat": record()})
GOOD = zipped(**{"tapvid_davis/tapvid_davis.pkl": DAVIS, "tapvid_davis/README.md": b"read me"})


class Server(ThreadingHTTPServer):
    """Serves `data` at /x.zip with `etag`, and cuts its first `cuts` answers after `after` bytes of them."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.etag, self.ranges, self.cuts, self.after, self.status = (
            GOOD,
            '"1"',
            True,
            0,
            5000,
            None,
        )
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/x.zip"

    def handle_error(self, request, client_address):  # a connection cut on purpose
        pass


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.status:
            return self.send_error(server.status)
        begin = 0
        if wanted and server.ranges and self.headers.get("If-Range", server.etag) == server.etag:
            begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        if begin >= len(server.data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header(
                "Content-Range", f"bytes {begin}-{len(server.data) - 1}/{len(server.data)}"
            )
        self.send_header("Content-Length", str(len(server.data) - begin))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        whole = server.data[begin:]
        if server.cuts:
            server.cuts -= 1
            whole = whole[: server.after]
        self.wfile.write(whole)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
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


def files(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


WHOLE = ["downloads.json", "tapvid_davis/README.md", "tapvid_davis/tapvid_davis.pkl"]


def test_a_set_is_fetched_once_and_written_down(server, tmp_path, capsys):
    assert run(server, tmp_path) == 0
    digest = hashlib.sha256(GOOD).hexdigest()
    assert f"sha256 {digest}, which is not pinned" in capsys.readouterr().out
    assert files(tmp_path) == WHOLE and TapVid(tmp_path).names == ["goat"]
    entry = {"url": server.url, "sha256": digest, "bytes": len(GOOD)}
    assert json.loads((tmp_path / "downloads.json").read_text()) == {"davis": entry}
    assert run(server, tmp_path) == 0 and len(server.asked) == 1
    assert f"already in {tmp_path / 'tapvid_davis'}" in capsys.readouterr().out


def test_a_cut_connection_is_taken_up_where_it_ended(server, tmp_path):
    server.cuts = 3
    assert run(server, tmp_path, "--sha256", hashlib.sha256(GOOD).hexdigest().upper()) == 0
    assert server.asked == [None, "bytes=5000-", "bytes=10000-", "bytes=15000-"]
    assert (
        files(tmp_path) == WHOLE
        and (tmp_path / "tapvid_davis" / "tapvid_davis.pkl").read_bytes() == DAVIS
    )


def test_a_later_run_goes_on(server, tmp_path, capsys):
    server.cuts, server.after = 99, 0
    (tmp_path / ".davis.zip.part").write_bytes(GOOD[:7000])
    (tmp_path / ".davis.zip.part.version").write_text('"1"')
    assert run(server, tmp_path) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("download: ") and "run again later, 7000 bytes are here already" in said
    assert len(server.asked) == download.TRIES and not (tmp_path / "tapvid_davis").exists()
    server.cuts = 0
    assert (
        run(server, tmp_path) == 0
        and server.asked[-1] == "bytes=7000-"
        and files(tmp_path) == WHOLE
    )


@pytest.mark.parametrize("begun, asked", [
    (b"of another version", "bytes=18-"),  # If-Range: the server begins anew
    (GOOD, f"bytes={len(GOOD)}-"),  # stopped between download and unpacking
])  # fmt: skip
def test_what_lies_there_is_only_used_where_it_is_the_same_file(server, tmp_path, begun, asked):
    (tmp_path / ".davis.zip.part").write_bytes(begun)
    (tmp_path / ".davis.zip.part.version").write_text('"0"' if begun != GOOD else '"1"')
    assert run(server, tmp_path) == 0 and server.asked == [asked] and files(tmp_path) == WHOLE


@pytest.mark.parametrize("how", ["no version", "no ranges", "longer than it"])
def test_without_a_sure_way_to_go_on_it_begins_anew(server, tmp_path, how):
    (tmp_path / ".davis.zip.part").write_bytes(
        b"?" * (len(GOOD) + 5 if how == "longer than it" else 9)
    )
    (tmp_path / ".davis.zip.part.version").write_text("" if how == "no version" else '"1"')
    server.ranges = how != "no ranges"
    assert run(server, tmp_path) == 0 and files(tmp_path) == WHOLE


def test_a_wrong_hash_is_refused_and_nothing_unpacked(server, tmp_path, capsys):
    assert run(server, tmp_path, "--sha256", "0" * 64) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert hashlib.sha256(GOOD).hexdigest() in said and "0" * 64 in said and "do not use it" in said
    assert files(tmp_path) == []


def test_another_content_than_last_time_is_refused(server, tmp_path, capsys):
    assert run(server, tmp_path) == 0
    (tmp_path / "tapvid_davis" / "tapvid_davis.pkl").unlink()
    server.data = zipped(**{"tapvid_davis/tapvid_davis.pkl": b"another"})
    assert run(server, tmp_path) == 2
    assert "downloads.json from an earlier download" in capsys.readouterr().err
    server.data = GOOD
    assert run(server, tmp_path) == 0 and files(tmp_path) == WHOLE
    assert "as it should be" in capsys.readouterr().out


def link() -> bytes:
    member = zipfile.ZipInfo("tapvid_davis/tapvid_davis.pkl")
    member.external_attr = 0o120777 << 16
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(member, "/etc/passwd")
    return held.getvalue()


@pytest.mark.parametrize("data, words", [
    (zipped(**{"../outside.txt": b"x"}), r"wants to write \.\./outside.txt, outside"),
    (zipped(**{"/outside.txt": b"x"}), "wants to write /outside.txt, outside"),
    (zipped(**{"a/../../outside.txt": b"x"}), "outside its folder"),
    (link(), "wants to write tapvid_davis/tapvid_davis.pkl, outside"),
    (b"<html>no zip</html>", "no whole zip"), (GOOD[:-9], "no whole zip"),
    (GOOD.replace(b"read me", b"read ME"), "no whole zip"),
    (zipped(a=b"b"), "held no tapvid_davis.pkl: is it the right address"),
])  # fmt: skip
def test_a_zip_that_is_wrong_writes_nothing_outside(server, tmp_path, capsys, data, words):
    server.data = data
    out = tmp_path / "deep" / "out"
    assert run(server, out) == 2
    assert re.search(words, capsys.readouterr().err)
    assert not list(tmp_path.rglob("outside.txt")) and not (out / "tapvid_davis").exists()
    assert not list(out.glob(".unpacking*"))


def test_a_full_disk_is_found_before_unpacking(server, tmp_path, monkeypatch, capsys):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    assert run(server, tmp_path) == 2 and "make room, run again" in capsys.readouterr().err
    assert files(tmp_path) == [".davis.zip.part", ".davis.zip.part.version"]


@pytest.mark.parametrize("status, requests, words", [(404, 1, "answers 404 Not Found: it may have moved"),
                                                     (503, 5, r"cannot be reached \(503")])  # fmt: skip
def test_an_address_that_fails_is_named(server, tmp_path, capsys, status, requests, words):
    server.status = status
    assert run(server, tmp_path) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert server.url in said and re.search(words, said) and len(server.asked) == requests


def test_what_must_be_asked_for_is_said(tmp_path, capsys):
    for name, words in (
        ("badja", "davischallenge.org"),
        ("fastcapture", "on request"),
        ("kinetics", "generate_tapvid"),
    ):
        assert download.main([name, "--out", str(tmp_path / "out")]) == 1
        assert words in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words, sentence", [
    (["badja", "--url", "http://x"], "are of one zip"), (["davis", "robotap", "--sha256", "0" * 64], "are of one zip"),
    (["davis", "--sha256", "12"], "not 64 hexadecimal digits"), (["davis", "--url", "file:///etc/x"], "no address"),
])  # fmt: skip
def test_wrong_words_are_answered_in_one_sentence(tmp_path, capsys, words, sentence):
    assert download.main([*words, "--out", str(tmp_path)]) == 2
    assert re.search(sentence, capsys.readouterr().err) and files(tmp_path) == []
