"""The check of one video file: every frame is decoded."""

from pathlib import Path

from cotracker.data.check.clip import Finding
from cotracker.data.video import open_video


def check_video_file(path: Path) -> tuple[int, list[Finding]]:
    """How many frames a video file has, and what is wrong with it; 0 where it cannot be opened.

    What is only unusual, as a variable rate, is said in warnings.
    """
    count = 0
    try:
        with open_video(path) as video:
            count = len(video)
            for _ in video:
                pass
    except ValueError as error:
        return count, [Finding(path, "video", str(error), path)]
    return count, []
