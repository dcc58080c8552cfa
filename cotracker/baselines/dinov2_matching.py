"""DINOv2 matching (section 4.2): each frame alone, by the features of a frozen DINOv2 ViT-S/14.

The paper says only that nearest features are followed. Ours: the feature at the query, its cosine
with every patch of a frame, and the expected position under a softmax of these.
"""

from pathlib import Path

import torch
from torch import Tensor

from cotracker import checks
from cotracker.baselines.by_clip import Answer, ByClip, read_frames
from cotracker.baselines.weights import RANDOM, seeded
from cotracker.checkpoint import weights_hash
from cotracker.geometry import inside_frame, rescale_points, resize_video, sample_maps
from cotracker.model.dinov2 import PATCH, build_frozen, load_frozen, read_patches
from cotracker.trackers.options import check_resolution
from cotracker.types import Video

LAST = 11  # the network's last block


class DINOv2Matching(ByClip):
    """Positions of the patches most like the query's, in both directions of time.

    checkpoint: the file of timm's vit_small_patch14_dinov2.lvd142m, or "random".
    resolution: (H, W) that the network sees, multiples of 14.
    sharpness: factor of the cosines in the softmax.  threshold: a point is visible where the
    greatest cosine is above it.
    """

    both_directions = True

    def __init__(
        self,
        checkpoint: str | None,
        resolution: tuple[int, int] = (378, 504),
        sharpness: float = 50.0,
        threshold: float = 0.5,
        device: str = "auto",
    ):
        super().__init__()
        self.resolution = check_resolution(resolution)
        if resolution is None or any(side % PATCH for side in self.resolution):
            raise ValueError(f"resolution must be multiples of {PATCH}, not {resolution}")
        self.sharpness = checks.number("sharpness", sharpness, 0)
        self.threshold = checks.share("threshold", threshold)
        known = checkpoint != RANDOM
        self.network = load_frozen(checkpoint, "checkpoint") if known else seeded(build_frozen)
        digest = weights_hash(self.network.state_dict()) if known else None
        name = Path(checkpoint).stem if known else "random weights"
        self.checkpoint = {"name": name, "hash": digest}
        self.place(device)

    def track_clip(self, video: Video, queries: Tensor) -> Answer:
        size = tuple(video.shape[-2:])
        cells = (rescale_points(queries[:, 1:], size, self.resolution) - (PATCH - 1) / 2) / PATCH
        asked = self._read_queries(video, queries[:, 0].long(), cells)
        xy, likeness = [], []
        for number in range(video.shape[1]):
            patches = self._encode(video, number)  # h w C
            cosines = torch.einsum("nc,hwc->nhw", asked, patches).flatten(1)
            weights = (self.sharpness * cosines).softmax(-1)
            xy.append(weights @ _positions(patches))
            likeness.append(cosines.amax(-1))
        xy = rescale_points(torch.stack(xy), self.resolution, size)
        score = torch.stack(likeness).clamp(0, 1)
        return xy, score, (score > self.threshold) & inside_frame(xy, size)

    def _read_queries(self, video: Video, start: Tensor, cells: Tensor) -> Tensor:
        """Features N C of unit length at cells N 2 of the patches in frames N."""
        out = cells.new_zeros(len(cells), self.network.num_features)
        for number in start.unique().tolist():
            patches, own = self._encode(video, number), start == number
            limits = cells.new_tensor([patches.shape[1] - 1, patches.shape[0] - 1])
            held = torch.minimum(cells[own].clamp(min=0), limits)
            zero = torch.zeros(len(held), dtype=torch.long, device=held.device)
            out[own] = sample_maps(patches[None], zero, held)
        return torch.nn.functional.normalize(out, dim=-1)

    def _encode(self, video: Video, number: int) -> Tensor:
        """Features h w C, of unit length, of one frame."""
        frame = read_frames(video, number, number + 1).to(self.device)
        frame = resize_video(frame, self.resolution) * (2 / 255) - 1
        patches = read_patches(self.network, frame, LAST)[0].movedim(0, -1)
        return torch.nn.functional.normalize(patches, dim=-1)

    def describe(self) -> dict:
        settings = {"sharpness": self.sharpness, "threshold": self.threshold}
        return super().describe() | {"resolution": list(self.resolution)} | settings


def _positions(patches: Tensor) -> Tensor:
    """hw 2: the centres of the patches h w C in pixels."""
    y, x = (PATCH * torch.arange(n, device=patches.device) + 6.5 for n in patches.shape[:2])
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
