"""What the published v1 code does where it differs from the paper: for published weights alone.

Each is a setting of CoTracker, off by default; `V1_COMPAT` turns all on.  Our reasons:
docs/differences.md.
"""

import torch
from torch import Tensor

V1_COMPAT = {
    "neighbourhood": "square",  # 7 x 7 = 196 values a frame instead of the paper's 164
    "radius": 3,
    "linear_motion_waves": True,  # frequencies 31.25 k radians a cell, no geometric series
    "scrambled_flags": True,  # mask and visibility flags reach other points and frames
    "repeat_last_frame": True,  # a short last window is filled up with copies of the last frame
}


def linear_frequencies(waves: int) -> Tensor:
    """The published motion table: 1000 / waves x k radians a cell, so fast as to be near a hash."""
    return torch.arange(waves) * (1000.0 / waves)


def scramble_flags(mask: Tensor, logits: Tensor, times: Tensor, active: Tensor) -> Tensor:
    """The two flags B S N 2 of each token as the published code hands them out.

    With the n active points in order of their query times, let A be the 2n x S table of their
    masks, then their logits: point i at frame s receives entries 2(iS + s) and 2(iS + s) + 1 of A
    read row by row, that is, flags of other points and frames.  Points not active get zeros.

    mask, logits: B S N.
    times, active: B N.
    """
    window = mask.shape[1]
    flags = mask.new_zeros(*mask.shape, 2)
    for item in range(mask.shape[0]):
        # not stable: among equal times the order is PyTorch's, as published
        order = times[item].long().sort().indices
        order = order[active[item][order]]
        table = torch.cat([mask[item][:, order].T, logits[item][:, order].T])  # 2n S
        flags[item, :, order] = table.reshape(len(order), window, 2).transpose(0, 1)
    return flags
