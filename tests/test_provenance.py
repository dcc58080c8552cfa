"""The commit is this code's own, and no other repository's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import cotracker
from cotracker import provenance


@pytest.fixture
def repository(tmp_path):
    """Somebody's repository, with one commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    return tmp_path


@pytest.mark.parametrize("place", ["venv/lib/site-packages", "."])
def test_a_package_within_a_repository_has_no_part_in_its_commit(place, repository, monkeypatch):
    """Installed there, or copied beside that project's own pyproject.toml."""
    (repository / "pyproject.toml").write_text('[project]\nname = "thesis"\n')
    (repository / place).mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(provenance, "CHECKOUT", repository / place)
    assert provenance.commit() is None
    assert provenance.versions()["cotracker"] == cotracker.__version__


def test_a_checkout_is_known_by_its_commit_and_its_changes(repository, monkeypatch):
    shutil.copy(Path(__file__).parents[1] / "pyproject.toml", repository)
    monkeypatch.setattr(provenance, "CHECKOUT", repository)
    clean = provenance.commit()
    assert len(clean) == 40
    subprocess.run(["git", "-C", str(repository), "add", "pyproject.toml"], check=True)
    assert provenance.commit() == clean + "+changes"
    os.utime(repository / "pyproject.toml", (1, 1))  # git would note that its content is the same
    index = (repository / ".git" / "index").read_bytes()
    assert provenance.commit() == clean + "+changes"
    assert (repository / ".git" / "index").read_bytes() == index
