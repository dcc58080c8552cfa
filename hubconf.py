"""torch.hub.load(DIR, "cotracker3_offline", source="local", checkpoint=FILE): published names.

DIR is a clone of this repository. FILE is a published .pth file or one of ours; without it the
checkpoint that ships is used, whatever the name. Nothing is downloaded.
"""

from cotracker.predictor import CoTrackerOnlinePredictor, CoTrackerPredictor

dependencies = ["torch", "numpy", "safetensors"]


def cotracker3_offline(checkpoint=None, pretrained=True, device="cpu") -> CoTrackerPredictor:
    """The CoTrackerPredictor of a checkpoint; `pretrained` changes nothing."""
    return CoTrackerPredictor(checkpoint, device=device)


def cotracker3_online(checkpoint=None, pretrained=True, device="cpu") -> CoTrackerOnlinePredictor:
    """The CoTrackerOnlinePredictor of a checkpoint; `pretrained` changes nothing."""
    return CoTrackerOnlinePredictor(checkpoint, device=device)


cotracker2 = cotracker2v1 = cotracker_w8 = cotracker_w12 = cotracker_w16 = cotracker3_offline
cotracker2_online = cotracker2v1_online = cotracker3_online
