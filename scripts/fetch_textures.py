"""Gathers photographs for training from freely licensed Debian packages, with their licences.

python scripts/fetch_textures.py --out datasets/textures         the packages below, 170 MB
python scripts/fetch_textures.py --packages supertuxkart-data    another (630 MB: of a game)
python scripts/fetch_textures.py --debs FILE.deb …               packages that are already here

Nothing is installed. A package's pictures appear in OUT/PACKAGE all at once, or not at all. Run the
same command again for those that are missing. OUT/LICENCES.json and OUT/LICENCES.md name the source
of each file.
"""

import argparse
import fnmatch
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cotracker.files import write_text

PACKAGES = (
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Wanted:
    """Which pictures: longest side of what is written, least shorter side, least detail."""

    side: int
    smallest: int
    detail: float


def main(argv: list[str] | None = None) -> int:
    """The exit code: 0 when all packages are there, 2 after a sentence on what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("datasets/textures"))
    parser.add_argument("--packages", nargs="*", help=f"default: {' '.join(PACKAGES)}")
    parser.add_argument(
        "--debs", nargs="*", type=Path, default=[], help="package files instead of downloads"
    )
    parser.add_argument(
        "--side", type=int, default=1024, help="longest side of what is written, in pixels"
    )
    parser.add_argument(
        "--smallest", type=int, default=300, help="shorter side below which a picture is left out"
    )
    parser.add_argument(
        "--detail",
        type=float,
        default=4.0,
        help="least mean |Laplacian| in grey levels at width 512",
    )
    arguments = parser.parse_args(argv)
    wanted = Wanted(arguments.side, arguments.smallest, arguments.detail)
    names = (
        list(PACKAGES)
        if arguments.packages is None and not arguments.debs
        else arguments.packages or []
    )
    try:
        return fetch(names, arguments.debs, arguments.out, wanted)
    except ValueError as error:
        print(f"fetch_textures: {error}", file=sys.stderr)
        return 2


def fetch(names: list[str], debs: list[Path], out: Path, wanted: Wanted) -> int:
    """0 once all packages' pictures are in `out`.

    ValueError: a tool is missing, or a package cannot be had or read.
    """
    check_tools(["dpkg-deb", *(["apt-get"] if names else [])])
    work = out.with_name(f".{out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        for package in [*names, *debs]:
            deb = package if isinstance(package, Path) else None
            name = read_field(deb, "Package") if deb else package
            if (out / name / "licences.json").is_file():
                print(f"{name}: already here")
                continue
            count = unpack(deb or download(name, work), out, work, wanted)
            print(f"{name}: {count} pictures")
        write_licences(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 0


def check_tools(tools: list[str]) -> None:
    """ValueError where one of the programs is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            raise ValueError(
                f"{tool} is not on this machine: run this on Debian or Ubuntu, "
                "or train with any folder of photographs"
            )


def download(name: str, work: Path) -> Path:
    """The .deb of a package, in `work`, by apt-get; ValueError with its message if it fails."""
    done = subprocess.run(["apt-get", "download", name], cwd=work, capture_output=True, text=True)
    found = sorted(work.glob(f"{name}_*.deb"))
    if done.returncode or not found:
        words = (done.stderr.strip().splitlines() or ["no file came"])[-1]
        raise ValueError(
            f"the package {name} cannot be downloaded ({words}): "
            "try apt-get update, or leave it out"
        )
    return found[0]


def read_field(deb: Path, name: str) -> str:
    """One field of a .deb's control file, "" where it has none. ValueError: it is no package."""
    done = subprocess.run(["dpkg-deb", "--field", str(deb), name], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{deb} is not a readable Debian package: download it again")
    return done.stdout.strip()


def unpack(deb: Path, out: Path, work: Path, wanted: Wanted) -> int:
    """How many pictures of the .deb now lie, scaled down, in `out`/PACKAGE.

    ValueError: there is none, or the package is broken.
    """
    name = read_field(deb, "Package")
    files = work / "files"
    made = work / "made"
    for folder in (files, made):
        shutil.rmtree(folder, ignore_errors=True)
    made.mkdir()
    extract = ["dpkg-deb", "--extract", str(deb), str(files)]
    if subprocess.run(extract, capture_output=True).returncode:
        raise ValueError(f"{deb} cannot be unpacked: download it again")
    notice = files / "usr" / "share" / "doc" / name / "copyright"
    if not notice.is_file():
        raise ValueError(
            f"{deb} has no usr/share/doc/{name}/copyright, "
            "so nobody knows whether its pictures are free"
        )
    shutil.copy(notice, made / "copyright")
    kept = write_pictures(files, made, notice, wanted)
    if not kept:
        raise ValueError(
            f"the package {name} holds no detailed picture of {wanted.smallest} pixels or more: "
            "leave it out"
        )
    about = {
        "package": name,
        "version": read_field(deb, "Version"),
        "source": read_field(deb, "Source") or name,
        "side": wanted.side,
    }
    (made / "licences.json").write_text(json.dumps({**about, "files": kept}, indent=1))
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / name, ignore_errors=True)
    os.replace(made, out / name)
    if deb.parent == work:
        deb.unlink()
    return len(kept)


def write_pictures(files: Path, made: Path, notice: Path, wanted: Wanted) -> dict[str, dict]:
    """Writes the pictures below `files` into `made`; by file name: the source and its licence."""
    stanzas = licence_stanzas(notice.read_text(errors="replace"))
    kept = {}
    for path, image in pictures(files, wanted):
        target = f"{len(kept):03d}_{path.stem}.jpg"
        cv2.imwrite(str(made / target), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        inside = path.relative_to(files)
        kept[target] = {"from": f"/{inside}", **licence_of(inside, stanzas)}
    return kept


def pictures(folder: Path, wanted: Wanted) -> Iterator[tuple[Path, np.ndarray]]:
    """Yields (path, H W 3 BGR uint8), scaled down: each picture once, from its largest file."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.is_symlink()
    ]
    seen = []
    for path in sorted(found, key=lambda path: (-path.stat().st_size, str(path))):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None or min(image.shape[:2]) < wanted.smallest or detail(image) < wanted.detail:
            continue
        look = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).astype(float)
        if any(np.abs(look - other).mean() < 6 for other in seen):
            continue  # the same in another size
        seen.append(look)
        scale = min(1.0, wanted.side / max(image.shape[:2]))
        yield (
            path,
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            if scale < 1
            else image,
        )


def detail(image: np.ndarray) -> float:
    """Mean absolute Laplacian of H W 3 at width 512, in grey levels: gradients 1, grass 10."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    size = (512, max(round(512 * grey.shape[0] / grey.shape[1]), 1))
    return float(
        np.abs(
            cv2.Laplacian(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.CV_32F)
        ).mean()
    )


def licence_stanzas(text: str) -> list[dict[str, str]]:
    """The paragraphs about files of a machine-readable debian/copyright, in order."""
    stanzas = []
    for paragraph in text.replace("\r", "").split("\n\n"):
        stanza, key = {}, None
        for line in paragraph.splitlines():
            if line[:1].isspace() and key:
                stanza[key] += "\n" + line.strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                stanza[key] = value.strip()
        if "Files" in stanza and "License" in stanza:
            stanzas.append(stanza)
    return stanzas


def licence_of(path: Path, stanzas: list[dict[str, str]]) -> dict[str, str]:
    """Licence and copyright of an installed file, by the last paragraph that names it, or for all.

    Paragraphs name files of the source tree, so the ends of the path are compared.
    """
    ends = ["/".join(path.parts[n:]) for n in range(len(path.parts))]
    best = None
    for stanza in stanzas:
        patterns = stanza["Files"].split()
        named = any(
            fnmatch.fnmatchcase(end, pattern) or Path(pattern).name == path.name
            for end in ends
            for pattern in patterns
            if pattern != "*"
        )
        if named or ("*" in patterns and best is None):
            best = stanza
    if best is None:
        return {"licence": "see copyright", "copyright": "see copyright"}
    holders = best.get("Copyright", "see copyright").replace("\n", "; ")
    return {"licence": best["License"].splitlines()[0] or "see copyright", "copyright": holders}


def write_licences(out: Path) -> None:
    """Writes LICENCES.json and LICENCES.md of all packages in `out`, atomically."""
    packages = [json.loads(file.read_text()) for file in sorted(out.glob("*/licences.json"))]
    lines = [
        "# Where these pictures are from",
        "",
        "The notice of each package is its `copyright` file here.",
        "",
    ]
    for package in packages:
        name = package["package"]
        lines += [
            f"## {name} {package['version']}",
            "",
            "| file | from | licence | copyright |",
            "|---|---|---|---|",
        ]
        for file, about in package["files"].items():
            cells = [f"{name}/{file}", about["from"], about["licence"], about["copyright"]]
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        lines.append("")
    write_text(out / "LICENCES.json", json.dumps(packages, indent=1))
    write_text(out / "LICENCES.md", "\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
