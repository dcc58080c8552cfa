"""The network as two graphs of tensors, for onnxruntime and other engines: encode, and refine.

encode: a frame -> the pyramid of maps.  refine: the maps of a window and what the window before
hands on -> the window's answer.  The loop over windows stays outside: examples/track_onnx.py is it.
Sampling is by gathers; the number of points is free, the frames' size and the window are fixed.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from cotracker.files import output_folder, write_json
from cotracker.model.runtime import plain
from cotracker.model.windowed import WindowedNetwork
from cotracker.model.windows import WindowState

OPSET = 18
ENCODE, REFINE, ABOUT = "encode.onnx", "refine.onnx", "about.json"
STATE = ("feat", "tracks", "logits", "confidence")
COUNTS = (1, 100, 1000)  # points of the parity report
TOLERANCE = 1e-4


class Encode(nn.Module):
    """A frame 3 H W of 0..255 -> the levels h w C."""

    def __init__(self, model: WindowedNetwork):
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        levels = self.model.encode(frame[None, None], frames_at_once=1)
        return tuple(level[0, 0] for level in levels)


class Refine(nn.Module):
    """One window of a clip: its maps, the queries, and the state -> its answer and the next state.

    maps: S h w C a level.
    queries: N 3 (t, x, y), t counted from the window's first frame, below 0 for older ones.
    carried: N bool, the points that the window before has tracked; none in the first window.
    feat N …, tracks S N 2, logits S N, confidence S N: what the window before gave; any numbers in
        the first.
    The same four come out: tracks in pixels, visibility and confidence as logits.
    """

    def __init__(self, model: WindowedNetwork, iters: int):
        super().__init__()
        self.model, self.iters = model, iters

    def forward(
        self,
        maps: tuple[Tensor, ...],
        queries: Tensor,
        carried: Tensor,
        feat: Tensor,
        tracks: Tensor,
        logits: Tensor,
        confidence: Tensor,
    ) -> tuple[Tensor, ...]:
        start = self.model.window  # any but 0, which is known to have no window before
        state = WindowState(
            (queries + queries.new_tensor([start, 0, 0]))[None],
            torch.ones_like(queries[None, :, 0], dtype=torch.bool),
            feat[None],
            tracks[None],
            logits[None],
            start,
            confidence[None],
        )
        levels = [level[None] for level in maps]
        state, _ = self.model.step(state, levels, self.iters, carried=carried[None])
        told = state.logits if state.confidence is None else state.confidence
        return state.track_feat[0], state.tracks[0], state.logits[0], told[0]


def sample_inputs(model: WindowedNetwork, points: int, size: tuple[int, int]) -> tuple:
    """(frames S 3 H W, the arguments of Refine behind its maps) of random numbers."""
    rng = torch.Generator().manual_seed(points)
    height, width = size
    frames = torch.rand(model.window, 3, height, width, generator=rng) * 255
    scale = torch.tensor([model.window - 1.0, width - 1.0, height - 1.0])
    queries = torch.rand(points, 3, generator=rng) * scale
    queries[:, 0] = queries[:, 0].round()
    state = model.begin(queries[None])
    tracks = state.tracks[0] + torch.randn(state.tracks.shape[1:], generator=rng)
    logits = torch.randn(tracks.shape[:2], generator=rng)
    carried = torch.rand(points, generator=rng) > 0.5
    return frames, (queries, carried, state.track_feat[0], tracks, logits, logits / 2)


@torch.no_grad()
def export_programs(
    model: WindowedNetwork, size: tuple[int, int], iters: int
) -> tuple[torch.export.ExportedProgram, torch.export.ExportedProgram]:
    """torch.export of Encode, and of Refine for any number of points."""
    if model.sees_whole_clips:
        raise ValueError("a network that sees clips as a whole has no windows to export: use an "
                         "online one")  # fmt: skip
    frames, arguments = sample_inputs(model, 5, size)
    auto = torch.export.Dim.DYNAMIC
    encode = Encode(model).eval()
    with plain():
        maps = _encode_all(encode, frames)
        first = torch.export.export(encode, (frames[0],), strict=False)
        names = ("queries", "carried", *STATE)
        axis = (0, 0, 0, 1, 1, 1)
        shapes = {name: {at: auto} for name, at in zip(names, axis)}
        shapes["maps"] = tuple({} for _ in maps)
        second = torch.export.export(
            Refine(model, iters).eval(), (maps, *arguments), dynamic_shapes=shapes, strict=False
        )
    return first, second


def export_onnx(
    model: WindowedNetwork, folder: Path, size: tuple[int, int], iters: int, card: dict
) -> dict:
    """The parity report, after encode.onnx, refine.onnx and about.json were written to a folder.

    The files appear together or not at all. ValueError where a package is missing, the network
    cannot be exported, or the graphs differ from PyTorch by more than TOLERANCE.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch.onnx exports through it
    except ImportError as error:
        raise ValueError(
            f"export-onnx needs onnx, onnxscript and onnxruntime: pip install 'cotracker[onnx]' "
            f"({error})"
        ) from error
    first, second = export_programs(model, size, iters)
    levels = [f"map{k}" for k in range(model.config.levels)]
    with output_folder(folder, (ENCODE, REFINE, ABOUT)) as out:
        for program, name, inputs, outputs in (
            (first, ENCODE, ["frame"], levels),
            (second, REFINE, [*levels, "queries", "carried", *STATE],
             [f"{name}_out" for name in STATE]),
        ):  # fmt: skip
            torch.onnx.export(
                program, (), str(out / name), opset_version=OPSET, dynamo=True, verbose=False,
                input_names=inputs, output_names=outputs, external_data=False,
            )  # fmt: skip
        report = compare(model, onnxruntime, out, size, iters)
        about = _about(model, size, iters, card) | {"parity": report}
        write_json(out / ABOUT, about)
        worst = max(max(one.values()) for one in report.values())
        if worst > TOLERANCE:
            raise ValueError(f"the graphs differ from PyTorch, {report}: nothing was written")
    return report


@torch.no_grad()
def compare(
    model: WindowedNetwork, onnxruntime, folder: Path, size: tuple[int, int], iters: int
) -> dict[str, dict[str, float]]:
    """By number of points, the largest difference of each output from PyTorch's.

    Of numbers above 1 it is relative.
    """
    sessions = [
        onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
        for name in (ENCODE, REFINE)
    ]
    report = {}
    for points in COUNTS:
        frames, arguments = sample_inputs(model, points, size)
        maps = _encode_all(Encode(model), frames)
        wanted = Refine(model, iters)(maps, *arguments)
        found = sessions[0].run(None, {"frame": frames[0].numpy()})
        differences = [_difference(a[0], b) for a, b in zip(maps, found)]
        names = [one.name for one in sessions[1].get_inputs()]
        feeds = dict(zip(names, (one.numpy() for one in (*maps, *arguments))))
        answer = sessions[1].run(None, {name: feeds[name] for name in names})
        told = {name: _difference(a, b) for name, a, b in zip(STATE, wanted, answer)}
        report[str(points)] = {"maps": max(differences), **told}
    return report


def _encode_all(encode: Encode, frames: Tensor) -> tuple[Tensor, ...]:
    """The levels S h w C of frames S 3 H W."""
    return tuple(torch.stack(level) for level in zip(*map(encode, frames)))


def _difference(ours: Tensor, theirs) -> float:
    return float(((ours - torch.from_numpy(theirs)).abs() / ours.abs().clamp(min=1)).max())


def _about(model: WindowedNetwork, size: tuple[int, int], iters: int, card: dict) -> dict:
    """What a program must know to track with the graphs."""
    names = ("threshold", "visible_by", "confidence_px", "confidence_fit")
    rule = {name: card[name] for name in names if name in card}
    return {
        "format": 1,
        "opset": OPSET,
        "size": list(size),
        "window": model.window,
        "stride": model.stride,
        "iters": iters,
        "levels": model.config.levels,
        "feat": list(model.begin(torch.zeros(1, 1, 3)).track_feat.shape[2:]),
        "licence": card.get("licence"),
        **rule,
    }
