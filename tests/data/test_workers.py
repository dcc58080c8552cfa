"""Work spread over processes: all is done, none under way once the block is left."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from cotracker.data.workers import map_in_processes


def noted(item: int, folder: Path, seconds: float = 0.0) -> int:
    """The item's square, after files that say that it was begun and that it was done."""
    (folder / f"begun{item}").touch()
    time.sleep(seconds)
    (folder / f"done{item}").touch()
    return item**2


def from_begin(item: int) -> str:
    return f"{item} {os.environ['WORD']} {os.getpid()}"


def say(word: str) -> None:
    os.environ["WORD"] = word


def killed(item: int) -> int:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def numbers(folder: Path, word: str) -> set[int]:
    return {int(path.name.removeprefix(word)) for path in folder.glob(f"{word}*")}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_item_is_done_once(tmp_path, workers):
    with map_in_processes(partial(noted, folder=tmp_path), range(7), workers) as done:
        assert sorted(done) == [k**2 for k in range(7)]
    assert numbers(tmp_path, "done") == set(range(7))


def test_nothing_to_do_is_done_at_once(tmp_path):
    with map_in_processes(partial(noted, folder=tmp_path), [], 2) as done:
        assert list(done) == []


def test_each_process_is_readied_first(monkeypatch):
    monkeypatch.delenv("WORD", raising=False)
    with map_in_processes(from_begin, range(4), 2, partial(say, "ready")) as done:
        said = [line.split() for line in done]
    assert {word for _, word, _ in said} == {"ready"} and str(os.getpid()) not in {
        pid for _, _, pid in said
    }
    assert "WORD" not in os.environ


def test_once_the_block_is_left_nothing_is_under_way(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        map_in_processes(partial(noted, folder=tmp_path, seconds=0.1), range(60), 2) as done,
    ):
        next(done)
        raise KeyboardInterrupt
    begun = numbers(tmp_path, "begun")
    assert begun == numbers(tmp_path, "done") and 1 <= len(begun) < 60
    time.sleep(0.3)
    assert numbers(tmp_path, "begun") == begun


def test_ctrl_c_is_for_the_one_who_spreads(tmp_path):
    """A worker that is sent it goes on: its parent says when to stop."""
    with map_in_processes(interrupted, range(4), 2) as done:
        assert sorted(done) == [0, 1, 2, 3]


def interrupted(item: int) -> int:
    os.kill(os.getpid(), signal.SIGINT)
    return item


def test_a_process_that_dies_is_one_sentence():
    with pytest.raises(
        ValueError, match="a worker died, perhaps for lack of memory: use fewer workers; nothing"
    ):
        with map_in_processes(killed, range(3), 2) as done:
            list(done)
