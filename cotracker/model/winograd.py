"""3x3 convolutions by Winograd's minimal filtering: a quarter of the products, in float32.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (CVPR 2016), F(4x4, 3x3): a tile
of 6x6 cells of a map, transformed, times the transformed weights, gives 4x4 cells of the answer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE, STEP, ROWS = 6, 4, 8  # cells a tile reads and writes on a side; rows a cache holds
OF_MAP = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
OF_WEIGHT = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
OF_ANSWER = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)


def convolve(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """conv, a 3x3 convolution padded by one cell, of maps K C h w; K D h w lies channels last."""
    height, width = x.shape[2:]
    factors = _transform_weight(conv.weight)
    whole = [-(-side // STEP) * STEP for side in (height, width)]
    beyond = (0, 0, 1, whole[1] - width + 1, 1, whole[0] - height + 1)
    padded = F.pad(x.permute(0, 2, 3, 1), beyond)  # K h+2 w+2 C
    out = padded.new_empty(len(x), *whole, conv.out_channels)
    for frame, answer in zip(padded, out):
        for top in range(0, whole[0], ROWS):
            rows = answer[top : top + ROWS]
            torch.add(
                _convolve_rows(frame[top : top + len(rows) + 2], factors), conv.bias, out=rows
            )
    return out[:, :height, :width].permute(0, 3, 1, 2)


def _transform_weight(weight: Tensor) -> Tensor:
    """Factors 36 C D of a weight D C 3 3."""
    matrix = weight.new_tensor(OF_WEIGHT)
    both = torch.kron(matrix, matrix)  # 36 9
    factors = both @ weight.permute(3, 2, 1, 0).reshape(9, -1)
    return factors.view(TILE**2, weight.shape[1], -1)


def _convolve_rows(x: Tensor, factors: Tensor) -> Tensor:
    """Cells h w D of cells h+2 w+2 C, h and w multiples of STEP."""
    height, width, channels = x.shape[0] - 2, x.shape[1] - 2, x.shape[2]
    down, across = height // STEP, width // STEP
    of_map, of_answer = x.new_tensor(OF_MAP), x.new_tensor(OF_ANSWER)
    tiles = x.unfold(0, TILE, STEP).movedim(-1, 1).reshape(down, TILE, -1)
    tiles = (of_map @ tiles).view(down, TILE, width + 2, channels).unfold(2, TILE, STEP)
    tiles = of_map @ tiles.movedim(-1, 0).reshape(TILE, -1)
    tiles = tiles.view(TILE, down, TILE, across * channels).transpose(1, 2)
    tiles = tiles.reshape(TILE**2, down * across, channels)  # column by column of a tile
    answer = of_answer @ (tiles @ factors).view(TILE, TILE, -1)  # 6 columns, 4 rows
    answer = (of_answer @ answer.view(TILE, -1)).view(STEP, STEP, down, across, -1)
    return answer.permute(2, 1, 3, 0, 4).reshape(height, width, -1)
