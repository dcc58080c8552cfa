"""Kinds of arguments that the commands share, and counts in words."""

import argparse

from cotracker.profiling.plan import parse_bytes
from cotracker.trackers.options import SIDES, check_threshold

MAX_GRID_POINTS = 100_000
DEVICES = ("auto", "cpu", "cuda", "mps")


def count_words(number: int, noun: str) -> str:
    """Such as "1 point" or "3 points"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def parse_whole(text: str, least: int = 0) -> int:
    """A whole number of at least `least`, below a thousand million."""
    if text.isdecimal() and len(text) >= 10:
        raise argparse.ArgumentTypeError(f"{text} is too large")
    if not (text.isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least {least}")
    return int(text)


def parse_positive(text: str) -> int:
    return parse_whole(text, least=1)


def parse_grid(text: str) -> int:
    """The side of a grid of at most MAX_GRID_POINTS points."""
    side = parse_positive(text)
    if side**2 > MAX_GRID_POINTS:
        most = int(MAX_GRID_POINTS**0.5)
        raise argparse.ArgumentTypeError(f"{text} x {text} points are too many: use {most} at most")
    return side


def parse_frames(text: str) -> tuple[int, int | None]:
    """(A, B) of A:B, frames A to B - 1; A or B may be left out, and then B is None."""
    start, colon, stop = text.partition(":")
    if not colon or not all(part.isdecimal() or not part for part in (start, stop)):
        raise argparse.ArgumentTypeError(f"{text} is not a range such as 10:20, 10: or :20")
    return int(start or 0), int(stop) if stop else None


def parse_size(text: str) -> tuple[int, int]:
    """(H, W) of a text such as 384x512."""
    sides = text.lower().split("x")
    low, high = SIDES
    if len(sides) != 2 or not all(
        side.isdecimal() and low <= float(side) <= high for side in sides
    ):
        raise argparse.ArgumentTypeError(
            f"{text} is not a size such as 384x512 (height x width, each {low} to {high})"
        )
    return int(sides[0]), int(sides[1])


def parse_threshold(text: str) -> float:
    try:
        return check_threshold(float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to below 1") from None


def parse_memory(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
