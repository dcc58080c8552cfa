"""A tracking backbone for napari-deeplabcut: import this file once, and it is in the menu.

Unlike the plugin's own, it says how far it is, stops when asked, and needs no network.
"""

import numpy as np
import torch
from napari_deeplabcut.tracking.core import data
from napari_deeplabcut.tracking.core.models import TrackingModel, register_backbone

from cotracker.trackers.build import build_tracker
from cotracker.trackers.options import TrackerOptions
from cotracker.trackers.track import track_video

NAME = "CoTracker"


class _Stopped(Exception):
    """The person who waits has pressed stop."""


@register_backbone(NAME)
class CoTrackerBackbone(TrackingModel):
    """The checkpoint that ships, forwards from the frame where points are placed.

    The plugin turns the frames round itself to track backwards, and turns the answer back.
    """

    name = NAME
    info_text = "CoTracker: points are tracked together, through occlusions; no network is needed."

    def load_model(self, device: str):
        return build_tracker(None, TrackerOptions(device=device, direction="forward"))

    def prepare_inputs(self, cfg):
        """Queries K 3 (t, x, y) of the plugin's (frame, y, x)."""
        self.cfg = cfg
        queries = np.asarray(cfg.keypoints, np.float32)[:, [0, 2, 1]]
        facts = {"keypoint_range": cfg.keypoint_range, "backward_tracking": cfg.backward_tracking}
        return data.TrackingModelInputs(np.asarray(cfg.video), queries, facts)

    def run(self, inputs, progress_callback, stop_callback):
        """Tracks T K 2 and visibility T K, or None where it was stopped."""
        frames, read = len(inputs.video), 0

        def advance(count: int) -> None:
            nonlocal read
            if stop_callback():
                raise _Stopped
            read += count
            progress_callback(min(read, frames), frames)

        video = torch.from_numpy(inputs.video).permute(0, 3, 1, 2)[None]
        try:
            queries = torch.from_numpy(inputs.keypoints)[None]
            tracks = track_video(video, queries, self.model, advance)
        except _Stopped:
            return None
        return data.RawModelOutputs(tracks.xy[0].numpy(), {"visibility": tracks.visible[0].numpy()})

    def prepare_outputs(self, model_outputs, worker_inputs=None):
        """Rows (frame, y, x) of every frame and point, with the features of its query."""
        step = -1 if worker_inputs.backward_tracking else 1
        xy = model_outputs.keypoints[::step]
        seen = model_outputs.keypoint_features["visibility"][::step]
        numbers = np.arange(*worker_inputs.keypoint_range)
        rows = np.column_stack([np.repeat(numbers, xy.shape[1]), xy.reshape(-1, 2)[:, ::-1]])
        features = data.expand_query_features_over_time(
            worker_inputs.keypoint_features, frame_ids=numbers, visibility=seen, tracker_name=NAME
        )
        return data.TrackingWorkerOutput(rows, features)

    def validate_outputs(self, inputs, outputs) -> tuple[bool, str]:
        first, last = inputs.metadata["keypoint_range"]
        wanted = ((last - first) * len(inputs.keypoints), 3)
        found = outputs.keypoints.shape
        return found == wanted, "" if found == wanted else f"rows {found}, not {wanted}"
