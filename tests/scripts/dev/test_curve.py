"""scripts/dev/curve.py: curves are read as written; like runs are told from others."""

import json
from pathlib import Path

import numpy as np
from curve import MEASURES, average_blocks, main, read_csv, read_log


def run_of(folder: Path, seed: int, shift: float = 0.0, steps: int = 130) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    values = [
        {key: 10 * 0.99**step + rng.normal() + shift for key in MEASURES} for step in range(steps)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in values))
    return folder


def test_curves_are_block_means_and_come_back(tmp_path):
    first, second = run_of(tmp_path / "a", 0), run_of(tmp_path / "b", 1)
    assert main([str(first), str(second), "--csv", str(tmp_path / "c.csv")]) == 0
    curves, lines = read_csv(tmp_path / "c.csv"), read_log(first)
    assert list(curves) == ["a", "b"] and [row["first"] for row in curves["a"]] == [1, 51]
    loss = [line["loss"] for line in lines[50:100]]
    assert abs(curves["a"][1]["loss"] - np.mean(loss)) < 1e-4
    assert abs(curves["a"][1]["loss_se"] - np.std(loss, ddof=1) / 50**0.5) < 1e-4
    assert len(average_blocks(lines, 60)) == 1


def test_a_run_like_the_logged_ones_is_told_from_another(tmp_path, capsys):
    main(
        [
            str(run_of(tmp_path / "a", 0)),
            str(run_of(tmp_path / "b", 1)),
            "--csv",
            str(tmp_path / "c.csv"),
        ]
    )
    against = ["--against", str(tmp_path / "c.csv")]
    assert main([str(run_of(tmp_path / "same", 2)), *against]) == 0
    assert "within the noise of the logged" in capsys.readouterr().out
    assert main([str(run_of(tmp_path / "other", 2, shift=1.5)), *against]) == 1
    assert "DIFFERS: loss, error" in capsys.readouterr().out


def test_what_is_wrong_is_one_sentence(tmp_path, capsys):
    short = run_of(tmp_path / "short", 0, steps=20)
    (tmp_path / "foreign.csv").write_text("x,y\n1,2\n")
    whole = run_of(tmp_path / "whole", 0)
    for words in ([short], [tmp_path / "none"], [whole, "--against", tmp_path / "foreign.csv"]):
        assert main([str(word) for word in words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("curve.py: ") and said.count("\n") == 1
