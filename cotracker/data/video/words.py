"""Counts and lists of frames in words."""

from collections.abc import Sequence


def count_words(count: int) -> str:
    """Such as "1 frame" or "3 frames"."""
    return f"{count} {'frame' if count == 1 else 'frames'}"


def list_numbers(numbers: Sequence[int], most: int = 6) -> str:
    """Such as "5, 6, 12 and 3 more"."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(str(int(number)) for number in numbers[:most]) + more
