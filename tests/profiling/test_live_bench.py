"""`cotracker bench --stream`: a row a mode, with the encoder's time and the rest."""

import pytest
from small_networks import tiny

from cotracker import cli
from cotracker.profiling import live
from cotracker.profiling.setting import Setting


def test_a_row_a_mode(monkeypatch):
    model = tiny()
    monkeypatch.setattr(live, "make_model", lambda setting: model)
    setting = Setting(kind="stream", points=3, frames=13, height=32, width=40, iters=1)
    rows = live.measure_streams(setting)
    assert [row["mode"] for row in rows] == list(live.MODES)
    latency = [(row["answered_after_frames"], row["final_after_frames"]) for row in rows]
    assert latency == [(0, 7), (7, 7), (0, 0)]
    for row in rows:
        total, encoder, rest = (row[name] for name in ("total_ms", "encoder_ms", "rest_ms"))
        assert 0 < encoder["mean"] < total["mean"] and 0 < rest["p50"] <= rest["p95"]
        assert total["mean"] == pytest.approx(encoder["mean"] + rest["mean"])
        assert row["state_bytes"] > 1000
    assert "encode" not in vars(model)
    assert len(live.format_streams(rows).splitlines()) == 5


def test_streams_are_measured_alone(capsys):
    assert cli.main(["bench", "--kind", "joint", "stream"]) == 2
    assert "--stream is measured alone" in capsys.readouterr().err
