"""The published Visualizer's calls, on ours: `from cotracker.utils.visualizer import Visualizer`.

New programs call cotracker.visualize.overlay, which holds no whole video.
"""

from contextlib import closing
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cotracker import checks
from cotracker.data.video import open_video, write_video
from cotracker.visualize import rainbow, render_tracks


class Visualizer:
    """Draws tracks on a video, and writes it to save_dir/NAME.mp4.

    save_dir, fps: of the file.
    grayscale: the video without its colours, under the tracks.
    pad_value: so many white pixels around the video, so that points outside are seen.
    mode, linewidth: for its callers alone: colours are a rainbow, sizes follow the frame.
    show_first_frame: copies of the first frame before the video.
    tracks_leave_trace: frames of a trail; -1: all before.
    """

    def __init__(
        self,
        save_dir: str | Path = "./results",
        grayscale: bool = False,
        pad_value: int = 0,
        fps: float = 10,
        mode: str = "rainbow",
        linewidth: int = 2,
        show_first_frame: int = 0,
        tracks_leave_trace: int = 0,
    ):
        self.save_dir = Path(save_dir)
        self.grayscale, self.pad, self.fps = grayscale, pad_value, fps
        self.show_first_frame, self.trail = show_first_frame, tracks_leave_trace

    def visualize(
        self,
        video: Tensor,
        tracks: Tensor,
        visibility: Tensor | None = None,
        *,
        filename: str = "video",
        save_video: bool = True,
        query_frame: int = 0,
    ) -> Tensor:
        """The drawn video B T 3 H W uint8, of the first clip.

        video: B T 3 H W of 0..255.
        tracks: B T N 2 pixels.
        visibility: B T N bool, or B T N 1; None: all are seen.
        query_frame: colours follow the height in this frame; earlier frames have no tracks.
        ValueError, one sentence, where the tracks are not those of the video's frames.
        """
        if tracks.ndim != 4 or tracks.shape[1] != video.shape[1]:
            raise ValueError(
                f"tracks must have shape B T N 2 with the video's T = {video.shape[1]} frames, "
                f"not {tuple(tracks.shape)}"
            )
        checks.whole("query_frame", query_frame, 0, tracks.shape[1] - 1)
        xy = tracks[0].detach().cpu() + self.pad
        seen = torch.ones_like(xy[..., 0]) if visibility is None else visibility[0].cpu()
        seen = seen.reshape(xy.shape[:2]) > 0
        frames = F.pad(video[0].detach().cpu(), (self.pad,) * 4, value=255)
        if self.grayscale:
            weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
            frames = (frames * weights).sum(1, keepdim=True).expand_as(frames)
        trail = len(frames) if self.trail < 0 else self.trail
        place = xy.clone()
        place[:query_frame] = torch.nan  # nothing is drawn there
        drawn = render_tracks(frames.float(), place, seen, 0, trail, rainbow(xy[query_frame]))
        copies = drawn[:1].expand(self.show_first_frame, -1, -1, -1)
        drawn = torch.cat([copies, drawn]).clamp(0, 255).byte()
        if save_video:
            pictures = (np.ascontiguousarray(one.permute(1, 2, 0).numpy()) for one in drawn)
            self.save_dir.mkdir(parents=True, exist_ok=True)
            path = self.save_dir / f"{filename}.mp4"
            write_video(path, pictures, self.fps, tuple(drawn.shape[-2:]))
        return drawn[None]


def read_video_from_path(path: str | Path) -> np.ndarray:
    """All frames of a video, T H W 3 uint8.

    `open_video` reads them as they are asked.  ValueError, one sentence, where there is none.
    """
    with closing(open_video(path)) as video:
        return video[:, :][0].permute(0, 2, 3, 1).numpy()
