"""Photographs from Debian packages: scaled, each once, licensed file by file; resumed.

And refused in a sentence.
"""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from cotracker.data.synthetic.textures import Textures

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_textures.py"
spec = importlib.util.spec_from_file_location("fetch_textures", SCRIPT)
fetch_textures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetch_textures)

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="needs dpkg-deb, which only Debian has"
)
NOTICE = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2020, Someone
License: GPL-2+

Files: photos/lake.jpg
Copyright: 2021, A Photographer
 2022, Her Friend
License: CC-BY-SA-4.0
 The whole text.

License: GPL-2+
 On Debian systems see /usr/share/common-licenses.
"""


def scenery(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    large, fine = (rng.integers(0, 128, (side, side, 3)).astype(np.uint8) for side in (8, 128))
    return cv2.add(
        *(
            cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
            for part in (large, fine)
        )
    )


def package(
    folder: Path, name: str = "tiny-walls", notice: str | None = NOTICE, images: bool = True
) -> Path:
    """A .deb with a large lake, the same lake smaller, a hill, an icon.

    A plain one and a broken one.
    """
    root = folder / name
    walls, doc = root / "usr" / "share" / "walls", root / "usr" / "share" / "doc" / name
    for one in (walls, doc, root / "DEBIAN"):
        one.mkdir(parents=True)
    if images:
        cv2.imwrite(str(walls / "lake.jpg"), scenery(1, 900, 1600))
        cv2.imwrite(str(walls / "lake_small.jpg"), cv2.resize(scenery(1, 900, 1600), (800, 450)))
        cv2.imwrite(str(walls / "hill.png"), scenery(2, 400, 500))
        cv2.imwrite(str(walls / "icon.png"), scenery(3, 64, 64))
        cv2.imwrite(str(walls / "plain.png"), np.full((500, 500, 3), 90, np.uint8))
        (walls / "broken.jpg").write_bytes(b"no picture")
    if notice is not None:
        (doc / "copyright").write_text(notice)
    control = f"Package: {name}\nVersion: 1.2-3\nArchitecture: all\n"
    control += "Maintainer: A <a@b.c>\nDescription: walls\n"
    (root / "DEBIAN" / "control").write_text(control)
    deb = folder / f"{name}.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(root), str(deb)],
        check=True,
        capture_output=True,
    )
    return deb


def run(*arguments) -> int:
    return fetch_textures.main([str(argument) for argument in arguments])


def test_pictures_come_once_and_scaled_with_their_licences(tmp_path, capsys):
    deb, out = package(tmp_path), tmp_path / "textures"
    assert run("--out", out, "--debs", deb, "--side", 640) == 0
    assert "tiny-walls: 2 pictures" in capsys.readouterr().out
    (about,) = json.loads((out / "LICENCES.json").read_text())
    assert (about["package"], about["version"]) == ("tiny-walls", "1.2-3")
    by_name = {Path(file["from"]).name: (name, file) for name, file in about["files"].items()}
    assert set(by_name) == {"lake.jpg", "hill.png"}
    name, lake = by_name["lake.jpg"]
    assert (
        lake["licence"] == "CC-BY-SA-4.0"
        and lake["copyright"] == "2021, A Photographer; 2022, Her Friend"
    )
    assert (
        by_name["hill.png"][1]["licence"] == "GPL-2+"
        and lake["from"] == "/usr/share/walls/lake.jpg"
    )
    assert cv2.imread(str(out / "tiny-walls" / name)).shape == (360, 640, 3)
    assert cv2.imread(str(out / "tiny-walls" / by_name["hill.png"][0])).shape == (400, 500, 3)
    assert (out / "tiny-walls" / "copyright").read_text() == NOTICE
    assert (
        f"tiny-walls/{name} | /usr/share/walls/lake.jpg | CC-BY-SA-4.0"
        in (out / "LICENCES.md").read_text()
    )
    assert len(Textures(out).files) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "textures",
        "tiny-walls",
        "tiny-walls.deb",
    ]


@pytest.mark.slow
def test_the_same_command_goes_on_with_what_is_missing(tmp_path, capsys, monkeypatch):
    first, second, out = package(tmp_path), package(tmp_path, "more-walls"), tmp_path / "textures"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fetch_textures, "pictures", killed)
        with pytest.raises(KeyboardInterrupt):
            run("--out", out, "--debs", first)
    assert not (out / "tiny-walls").exists()
    assert run("--out", out, "--debs", first) == 0
    made = (out / "tiny-walls" / "licences.json").stat().st_mtime_ns
    assert run("--out", out, "--debs", first, second) == 0
    assert "tiny-walls: already here" in capsys.readouterr().out
    assert (out / "tiny-walls" / "licences.json").stat().st_mtime_ns == made
    assert len(json.loads((out / "LICENCES.json").read_text())) == 2


def test_prose_notices_are_kept_and_pointed_to(tmp_path):
    out = tmp_path / "textures"
    assert (
        run(
            "--out",
            out,
            "--debs",
            package(tmp_path, notice="All pictures are in the public domain.\n"),
        )
        == 0
    )
    (about,) = json.loads((out / "LICENCES.json").read_text())
    assert {file["licence"] for file in about["files"].values()} == {"see copyright"}


@pytest.mark.parametrize(("settings", "words"), [
    ({"notice": None}, "nobody knows whether its pictures are free"),
    ({"images": False}, "holds no detailed picture of 300 pixels"),
])  # fmt: skip
def test_packages_without_notice_or_pictures_are_refused(tmp_path, capsys, settings, words):
    out = tmp_path / "textures"
    assert run("--out", out, "--debs", package(tmp_path, **settings)) == 2
    said = capsys.readouterr().err
    assert words in said and "tiny-walls" in said and said.count("\n") == 1
    assert not (out / "tiny-walls").exists() and not list(tmp_path.glob(".*"))


def test_what_is_no_package_or_cannot_be_had_is_named(tmp_path, capsys, monkeypatch):
    broken = tmp_path / "broken.deb"
    broken.write_bytes(b"nothing")
    assert run("--out", tmp_path / "out", "--debs", broken) == 2
    assert "broken.deb is not a readable Debian package" in capsys.readouterr().err

    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "apt-get" else real(tool))
    assert run("--out", tmp_path / "out", "--packages", "tiny-walls") == 2
    assert "apt-get is not on this machine" in capsys.readouterr().err


def test_apt_get_is_asked_and_its_words_repeated(tmp_path, capsys, monkeypatch):
    """A stand-in for apt-get, as tests have no network: one package is there, another is not."""
    deb = package(tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()
    stand_in = programs / "apt-get"
    stand_in.write_text(
        f'#!/bin/sh\n[ "$2" = tiny-walls ] && cp {deb} tiny-walls_1.2-3_all.deb && exit 0\n'
        'echo "E: Unable to locate package $2" >&2; exit 100\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    assert run("--out", tmp_path / "out", "--packages", "tiny-walls") == 0
    assert len(Textures(tmp_path / "out").files) == 2
    assert run("--out", tmp_path / "out", "--packages", "tiny-walls", "no-walls") == 2
    assert (
        "no-walls cannot be downloaded (E: Unable to locate package no-walls)"
        in capsys.readouterr().err
    )
