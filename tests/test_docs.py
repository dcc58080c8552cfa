"""The documentation: links, lines, paths and the configs that it names."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest
from commands import commands, wrong

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        ROOT / "README.md",
        *(ROOT / folder / "README.md" for folder in ("configs", "checkpoints", "datasets")),
        *ROOT.glob("docs/**/*.md"),
    ]
)
COLUMNS = 100
README_LINES = 115
NOTES = "docs/notes"  # the laboratory notebook: files that it names may be gone
GROUPS = {  # group=NAME of a command -> the folder of configs that has NAME
    "augment": "augment",
    "benchmark": "benchmark",
    "cluster": "cluster",
    "data": "data",
    "experiment": "experiment",
    "figure": "figures",
    "generator": "generator",
    "model": "model",
    "table": "tables",
    "tracker": "tracker",
}
YOURS = {"mine"}  # configs that a page tells the reader to write
PLACEHOLDER = re.compile(r"[A-Z_]+")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(rf"(?<![\w.@])({'|'.join(GROUPS)})=([\w/,]+)")
DOTTED = re.compile(r"`(cotracker(?:\.\w+)+)")
PATH = re.compile(r"(?<![\w/.-])(?:cotracker|tests|configs|scripts|docs)/[\w/.-]*\w")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(text: str) -> list[tuple[int, str]]:
    """The numbered lines that are neither code nor a table nor a picture."""
    lines, fenced = [], False
    for number, line in enumerate(text.splitlines(), start=1):
        fence = line.startswith("```")
        fenced ^= fence
        if not (fence or fenced or line.startswith(("    ", "|", "!["))):
            lines.append((number, line))
    return lines


@cache
def anchors(page: Path) -> set[str]:
    """What #… may name in a page: its headings as GitHub writes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def broken_links(page: Path, text: str) -> list[str]:
    """The links that lead nowhere; addresses on the web are not followed."""
    broken = []
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


def missing_configs(text: str) -> list[str]:
    """The group=NAME for which there is no config."""
    missing = []
    for group, names in NAMED.findall(text):
        for name in filter(None, names.split(",")):
            known = PLACEHOLDER.fullmatch(name) or name in YOURS or name == "null"
            if not known and not (ROOT / "configs" / GROUPS[group] / f"{name}.yaml").is_file():
                missing.append(f"{group}={name}")
    return missing


def missing_paths(text: str) -> list[str]:
    """The paths within the repository that do not exist; those with a placeholder are left out."""
    paths = [path for path in PATH.findall(text) if "NAME" not in path and "mine" not in path]
    return [path for path in paths if not (ROOT / path).exists()]


def missing_names(text: str) -> list[str]:
    """The dotted names of the package that lead to nothing."""
    missing = []
    for name in DOTTED.findall(text):
        try:
            resolve_name(name)
        except (ImportError, AttributeError):
            missing.append(name)
    return missing


def over_pages(faults: Callable[[Path], list], notes: bool = True) -> dict[str, list]:
    """The faults of each page that has some."""
    pages = [page for page in PAGES if notes or not name_of(page).startswith(NOTES)]
    return {name_of(page): faults(page) for page in pages if faults(page)}


def test_links_lead_somewhere():
    assert over_pages(lambda page: broken_links(page, page.read_text())) == {}


def test_configs_exist():
    assert over_pages(lambda page: missing_configs(page.read_text())) == {}


def test_paths_exist():
    assert over_pages(lambda page: missing_paths(page.read_text()), notes=False) == {}
    assert over_pages(lambda page: missing_names(page.read_text()), notes=False) == {}


def test_a_stranger_has_what_is_named():
    assert over_pages(lambda page: re.findall(r"\.\./shared|/work/", page.read_text())) == {}


def test_lines_are_short():
    assert (
        over_pages(lambda page: [n for n, x in prose(page.read_text()) if len(x) > COLUMNS]) == {}
    )


@pytest.mark.slow
def test_commands_parse():
    pages = (ROOT / "docs").glob("*.md")  # test_readme.py parses README's
    found = {command for page in pages for command in commands(page.read_text())}
    yours = re.compile(r"=NAME|=mine\b")
    reasons = {command: wrong(command) for command in found if not yours.search(command)}
    assert {command: reason for command, reason in reasons.items() if reason} == {}
    assert len(reasons) > 50


def test_readme_is_read_in_two_minutes():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= README_LINES
    assert max(map(len, lines)) <= COLUMNS


def test_every_page_is_linked():
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in LINK.findall(page.read_text())
    }
    pages = [page for page in PAGES if name_of(page).startswith("docs/")]
    assert [name_of(page) for page in pages if page not in linked] == []


def test_the_checks_see_what_is_wrong():
    page = ROOT / "docs" / "index.md"
    text = "[a](nowhere.md) [b](training.md#nothing) [c](training.md#slurm) [d](https://x.org/y)"
    assert broken_links(page, text) == ["nowhere.md", "training.md#nothing"]
    text = "experiment=paper,papers data=shipped/gpu table=2_small table=10 data=DIR x.model=y"
    assert missing_configs(text) == ["experiment=papers", "table=10"]
    assert missing_paths("cotracker/types.py cotracker/typed.py configs/tracker/NAME.yaml") == [
        "cotracker/typed.py"
    ]
    text = "`cotracker.types.Clip` `cotracker.load_tracker` `cotracker.files` `cotracker.filed`"
    assert missing_names(text) == ["cotracker.filed"]
    assert prose("a\n```\nb\n```\n| c |\n    d\ne") == [(1, "a"), (7, "e")]
