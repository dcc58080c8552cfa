"""Pictures as a source of frames: a folder of them, a stack in one file, an animation."""

import re
import warnings
from collections import defaultdict
from collections.abc import Generator
from contextlib import nullcontext, suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from cotracker.data.video.images import (
    PICTURE_ERRORS,
    Header,
    is_picture,
    read_header,
    read_page,
    to_rgb,
    unreadable,
)
from cotracker.data.video.rate import frame_rate

FOLDER_FPS = 24.0  # a folder has no rate; DAVIS, the usual one, has 24
ANIMATED = {".webp"}  # that libav does not play
STACKS = {".tif", ".tiff"}


class PictureSource:
    """The frames of picture files, each read when it is asked for; described as a FileSource.

    files: in order, of one size; each of its pages is a frame.
    repeats: pictures that cannot be read are not refused: each shows the last good one.
    Pictures of more than 8 bits share one scale, from the least number in them to the largest.
    ValueError, one sentence naming the file: it is no picture, or of another size.
    """

    aspect = Fraction(1)

    def __init__(self, files: list[Path], name: Path, repeats: bool = False):
        self._repeats = repeats
        headers = [self._read_header(file) for file in files]
        known = {file: header for file, header in zip(files, headers) if header is not None}
        if not known:
            raise ValueError(f"no picture of {name} can be read: copy them again")
        _check_sizes(known)
        self._pages = [
            (file, page)
            for file, header in zip(files, headers)
            for page in range(1 if header is None else header.pages)
        ]
        self.size = next(iter(known.values())).size
        self.count = len(self._pages)
        self.fps = FOLDER_FPS
        self.seconds = np.arange(self.count) / FOLDER_FPS
        self._range = None
        if any(header.is_deep for header in known.values()):
            self._range = self._find_range()
            low, high = self._range
            warnings.warn(
                f"{name} has pictures of more than 8 bits: {low:g} to {high:g}, the range of all, "
                "is scaled to 0 to 255",
                stacklevel=3,
            )

    def frames(self, start: int) -> Generator[np.ndarray, None, None]:
        """Pictures H W 3 uint8 RGB of frame number `start` and all after it."""
        picture = None
        for number in range(start, self.count):
            picture = self._read_or_repeat(number, picture)
            yield picture

    def _read_or_repeat(self, number: int, last: np.ndarray | None) -> np.ndarray:
        """The picture of a number; where it is broken and repeats are wanted, the last good one."""
        try:
            return self._read(number)
        except ValueError as error:
            if not self._repeats:
                raise
            warnings.warn(f"{error}: the last good frame is shown instead", stacklevel=4)
        if last is not None:
            return last
        for other in [*range(number - 1, -1, -1), *range(number + 1, self.count)]:
            with suppress(ValueError):
                return self._read(other)
        raise ValueError(f"no picture beside {self._pages[number][0]} can be read: copy them again")

    def _read(self, number: int) -> np.ndarray:
        file, page = self._pages[number]
        picture = self._to_bytes(read_page(file, page))
        if picture.shape[:2] != self.size:
            height, width = picture.shape[:2]
            raise ValueError(
                f"page {page} of {file} is {width}x{height}, but the first frame is "
                f"{self.size[1]}x{self.size[0]}: all frames must have one size"
            )
        return picture

    def _read_header(self, file: Path) -> Header | None:
        try:
            return read_header(file)
        except ValueError:
            if not self._repeats:
                raise
            return None

    def _find_range(self) -> tuple[float, float]:
        ends = []
        for file, page in self._pages:
            with suppress(ValueError) if self._repeats else nullcontext():
                numbers = read_page(file, page)
                if numbers.dtype != np.uint8:
                    ends += [end for end in (numbers.min(), numbers.max()) if np.isfinite(end)]
        return float(min(ends, default=0)), float(max(ends, default=0))

    def _to_bytes(self, picture: np.ndarray) -> np.ndarray:
        if picture.dtype != np.uint8:
            low, high = self._range
            scaled = np.nan_to_num((picture - low) * (255 / max(high - low, 1e-12)))
            picture = scaled.round().clip(0, 255).astype(np.uint8)
        return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)


class AnimationSource:
    """The frames of an animated webp, each shown as its animation leaves it."""

    aspect = Fraction(1)

    def __init__(self, path: Path):
        self.path = path
        durations = [frame.info.get("duration", 0) for frame in self._play()]
        self.count = len(durations)
        with Image.open(path) as image:
            self.size = image.size[::-1]
        if not any(durations):
            durations = [1000 / FOLDER_FPS] * self.count
        self.seconds = np.concatenate([[0.0], np.cumsum(durations[:-1])]) / 1000
        self.fps, _ = frame_rate(self.seconds, 0.001, durations[-1] / 1000)

    def frames(self, start: int) -> Generator[np.ndarray, None, None]:
        """Pictures H W 3 uint8 RGB of frame number `start` and all after it."""
        yield from (to_rgb(frame) for frame in self._play(start))

    def _play(self, start: int = 0) -> Generator[Image.Image, None, None]:
        try:
            with Image.open(self.path) as image:
                for number in range(start, getattr(image, "n_frames", 1)):
                    image.seek(number)
                    image.load()
                    yield image
        except (*PICTURE_ERRORS, EOFError) as error:
            raise unreadable(self.path) from error


def open_folder(path: Path, repeats: bool = False) -> PictureSource:
    """The frames of a folder of pictures of one size, ordered as file managers order them.

    Where files of two kinds have the same numbers, as masks beside images, the larger kind is
    taken, and that is said.
    ValueError naming the folder or file: there is no picture, or they differ in size.
    """
    files = sorted(filter(is_picture, path.iterdir()))
    if not files:
        raise ValueError(
            f"{path} holds no frames: put jpg, png, bmp, webp or tif pictures of one size in it"
        )
    return PictureSource(order_naturally(_take_one_kind(path, files)), path, repeats)


def order_naturally(files: list[Path]) -> list[Path]:
    """The files with frame2 before frame10, t0.25 before t0.5, and img before img1.

    A point is a decimal point, unless two names would be the same number: 2.1 and 2.10.
    """
    decimal = [_sort_key(file, r"(\d+(?:\.\d+)?)") for file in files]
    if len(set(decimal)) == len(files):
        return [file for _, file in sorted(zip(decimal, files))]
    return sorted(files, key=lambda file: (_sort_key(file, r"(\d+)"), file.name))


def _sort_key(file: Path, number: str) -> tuple:
    """Text and numbers of a name in turn, without its suffix."""
    parts = re.split(number, file.stem.lower())
    return tuple(float(part) if k % 2 else part for k, part in enumerate(parts))


def _take_one_kind(folder: Path, files: list[Path]) -> list[Path]:
    """All files; or of kinds whose numbers meet, the one with most files, or most bytes."""
    kinds = defaultdict(dict)
    for file in files:
        head, number, tail = re.fullmatch(r"(.*?)(\d*(?:\.\d+)?)(\D*)", file.stem).groups()
        kinds[head.lower(), tail.lower(), file.suffix.lower()][number] = file
    numbers = [number for kind in kinds.values() for number in kind if number]
    if len(set(numbers)) == len(numbers) or max(map(len, kinds.values())) == 1:
        return files

    def weigh(kind: tuple) -> tuple[int, int]:
        return len(kinds[kind]), sum(file.stat().st_size for file in kinds[kind].values())

    largest = max(kinds, key=weigh)
    taken = list(kinds[largest].values())
    first, other = order_naturally(taken)[0], next(file for file in files if file not in taken)
    warnings.warn(
        f"{folder} holds several kinds of pictures with the same numbers: the {len(taken)} like "
        f"{first.name} are its frames, others such as {other.name} are left out",
        stacklevel=5,
    )
    return taken


def _check_sizes(headers: dict[Path, Header]) -> None:
    first = next(iter(headers))
    height, width = headers[first].size
    for file, header in headers.items():
        if header.size != (height, width):
            raise ValueError(
                f"{file} is {header.size[1]}x{header.size[0]} but {first.name} is "
                f"{width}x{height}: all frames of a folder must have one size"
            )
