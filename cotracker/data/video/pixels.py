"""Decoded frames as upright RGB: colours by libav's scaler, HDR tone mapped, alpha composited."""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.filter import Graph
from av.sidedata.sidedata import Type

_PQ, _HLG, _BT2020 = 16, 18, 9  # codes of ITU-T H.273
_WHITE = 203.0  # cd/m2 of diffuse white in HDR (ITU-R BT.2408)
_KNEE = 0.8  # of white: up to here HDR is kept, above it is compressed
# From the primaries of BT.2020 to those of BT.709 (ITU-R BT.2087)
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)


@dataclass(frozen=True)
class Look:
    """How a file's frames are shown: their size as stored (H, W), and how they are turned.

    turn: (a, b, c, d) of the container's display matrix: x' = a x + c y, y' = b x + d y.
    """

    stored: tuple[int, int]
    turn: tuple[int, int, int, int]

    @property
    def is_turned(self) -> bool:
        """Whether width and height are exchanged."""
        return abs(self.turn[1]) > abs(self.turn[0])

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) upright."""
        return self.stored[::-1] if self.is_turned else self.stored

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """A picture H W C turned by right angles or flipped."""
        a, b, c, d = self.turn
        if self.is_turned:
            picture = picture.swapaxes(0, 1)
            a, d = c, b
        return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def look_at(frame: av.VideoFrame) -> Look:
    """The Look of a file by its first frame."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    turn = (1, 0, 0, 1)
    if data is not None:
        matrix = np.frombuffer(bytes(data), np.int32)
        turn = tuple(int(matrix[k]) for k in (0, 1, 3, 4))
    return Look((frame.height, frame.width), turn)


class ToRGB:
    """Frames as H W 3 uint8 RGB, upright, all of the size of the first; colours as declared.

    Transparent pixels are black, whatever colour is stored under them.
    """

    def __init__(self, look: Look):
        self._look = look
        self._key = None
        self._graph = None

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        key = (frame.format.name, frame.width, frame.height, frame.colorspace, frame.color_range)
        if key != self._key:
            self._graph = _make_graph(frame, self._look.stored)
            self._key = key
        self._graph.push(frame)
        pixels = self._graph.pull().to_ndarray()
        if frame.color_trc in (_PQ, _HLG):
            pixels = tone_map(pixels, frame.color_trc == _HLG, frame.color_primaries == _BT2020)
        elif pixels.shape[2] == 4:
            pixels = composite(pixels)
        return np.array(self._look.upright(pixels), order="C")  # never libav's own memory


def composite(pixels: np.ndarray) -> np.ndarray:
    """H W 3 uint8 of H W 4 with straight alpha, on black."""
    alpha = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * alpha + 127) // 255).astype(np.uint8)


def tone_map(signal: np.ndarray, is_hlg: bool, is_bt2020: bool) -> np.ndarray:
    """H W 3 uint8 sRGB of an HDR picture H W 3 uint16 (PQ, or HLG for a display of 1000 cd/m2).

    Diffuse white becomes white; what is brighter is compressed, without a change of hue.
    """
    light = (_HLG_LIGHT if is_hlg else _PQ_LIGHT)[signal]  # in diffuse whites
    if is_hlg:
        luminance = light @ _LUMINANCE
        light *= np.maximum(luminance, 1e-6)[..., None] ** 0.2 * (1000 / _WHITE)
    if is_bt2020:
        light = light @ _TO_BT709.T
    brightest = np.maximum(light.max(-1), 1e-6)
    above = np.maximum(brightest - _KNEE, 0) / (1 - _KNEE)
    mapped = np.where(above > 0, _KNEE + (1 - _KNEE) * (1 - np.exp(-above)), brightest)
    light *= (mapped / brightest)[..., None]
    return _SRGB[np.clip(light * 4095 + 0.5, 0, 4095).astype(np.uint16)]


def _pq_light() -> np.ndarray:
    """Light in diffuse whites of each 16-bit signal (SMPTE ST 2084)."""
    root = np.linspace(0, 1, 65536) ** (1 / 78.84375)
    light = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    return (10000 / _WHITE * light ** (1 / 0.1593017578125)).astype(np.float32)


def _hlg_light() -> np.ndarray:
    """Light of the scene, 0 to 1, of each 16-bit signal (ITU-R BT.2100)."""
    signal = np.linspace(0, 1, 65536)
    bright = (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(signal <= 0.5, signal**2 / 3, bright).astype(np.float32)


def _srgb() -> np.ndarray:
    light = np.linspace(0, 1, 4096)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * encoded).round().astype(np.uint8)


_PQ_LIGHT, _HLG_LIGHT, _SRGB = _pq_light(), _hlg_light(), _srgb()


def _make_graph(frame: av.VideoFrame, stored: tuple[int, int]) -> Graph:
    """A graph from such frames to RGB of the stored size; bicubic, as the program ffmpeg scales."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=Fraction(1, 1000),
    )
    if frame.color_trc in (_PQ, _HLG):
        pixels = "rgb48le"
    else:
        pixels = "rgba" if _has_alpha(frame) else "rgb24"
    scale = graph.add("scale", f"{stored[1]}:{stored[0]}:flags=bicubic")
    form = graph.add("format", pixels)
    sink = graph.add("buffersink")
    source.link_to(scale)
    scale.link_to(form)
    form.link_to(sink)
    graph.configure()
    return graph


def _has_alpha(frame: av.VideoFrame) -> bool:
    name = frame.format.name
    alpha = ("yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16", "pal8", "ayuv")
    return name.startswith(alpha)
