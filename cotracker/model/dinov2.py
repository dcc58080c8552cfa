"""Table 6's other encoder: features of a frozen DINOv2 ViT-S/14, projected (appendix B)."""

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from cotracker.stored import read_tensors

NAME = "vit_small_patch14_dinov2.lvd142m"  # timm's
PATCH, WIDTH = 14, 384  # what it is
MEAN = (0.485, 0.456, 0.406)  # of ImageNet's pixels in 0..1: what it was taught on
DEVIATION = (0.229, 0.224, 0.225)


class DinoEncoder(nn.Module):
    """Frames to maps of `channels` at 1/stride, from a frozen network; `project` alone learns.

    layer: the block whose output is read, of 0 to 11, through the network's last norm, as DINOv2's
    own code hands features out.  The paper says only "an intermediate layer with 384 channels":
    which of them, we chose.
    weights: the file of the frozen network.  It is no submodule, so that it is neither in the state
    dict, nor among the parameters, nor put into training mode; it moves with the module, and is
    rebuilt from `weights` wherever the module is.
    """

    def __init__(
        self, stride: int, channels: int, layer: int, weights: str | None, normalise: bool
    ):
        super().__init__()
        self.stride, self.layer, self.normalise = stride, layer, normalise
        self.project = nn.Conv2d(WIDTH, channels, 1)
        self._frozen = [load_frozen(weights)]  # in a list, which nn.Module does not look into

    def _apply(self, fn, recurse: bool = True):
        """What .to, .cuda and .half call: the frozen network goes along."""
        self._frozen[0]._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, frames: Tensor) -> Tensor:
        """Maps K C h w, h = ceil(H / stride), of frames K 3 H W in -1..1.

        Cell (x, y) is at pixel stride (x, y).

        ValueError where H or W is no multiple of 14; the paper trains at 378 x 504.
        """
        height, width = frames.shape[-2:]
        if height % PATCH or width % PATCH:
            raise ValueError(
                f"model.encoder=dinov2 reads patches of {PATCH} x {PATCH}: height and width must "
                f"be multiples of {PATCH} (378 x 504 in the paper), not {height} x {width}"
            )
        with torch.no_grad():
            patches = read_patches(self._frozen[0], frames, self.layer)
        x = self.project(patches)  # linear, as the reading below: this order is the cheaper
        down, across = (
            _reading(side, self.stride, cells, x)
            for side, cells in zip((height, width), patches.shape[-2:])
        )
        x = down @ x @ across.T
        return (
            nn.functional.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)
            if self.normalise
            else x
        )


def _channels(values: tuple[float, ...], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]


def _reading(side: int, stride: int, patches: int, like: Tensor) -> Tensor:
    """ceil(side / stride) x patches: the bilinear weights of the patches at pixels 0, stride, …

    Patch i covers pixels 14 i to 14 i + 13, so its centre is at 14 i + 6.5; beyond the outer
    centres they are held.
    """
    pixels = torch.arange(0, side, stride, device=like.device)
    at = ((pixels - (PATCH - 1) / 2) / PATCH).clamp(0, patches - 1)
    return (
        (1 - (at[:, None] - torch.arange(patches, device=like.device)).abs())
        .clamp(min=0)
        .to(like.dtype)
    )


def load_frozen(weights: str | None, argument: str = "model.encoder_weights") -> nn.Module:
    """The frozen ViT-S/14, which takes any multiple of 14; ValueError where it cannot be had.

    weights: the file.  argument: what names it, for messages.
    """
    if weights is None:
        raise ValueError(f"DINOv2 needs {argument}=FILE, the weights of timm's {NAME}")
    if not Path(weights).is_file():
        raise ValueError(
            f"{argument}={weights} does not exist: it must hold the weights of timm's {NAME}"
        )
    network = build_frozen()
    tensors = _tensors(weights, argument)
    tensors.pop(
        "mask_token", None
    )  # is in the file that DINOv2's authors publish, and used in its training only
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{argument}={weights} does not hold the weights of timm's {NAME}"
        ) from error
    return network


def build_frozen() -> nn.Module:
    """The network with random weights, frozen; ValueError where timm is missing."""
    try:
        import timm
    except ImportError as error:
        raise ValueError("DINOv2 needs timm: pip install 'cotracker[dinov2]'") from error
    with torch.device("cpu"):  # where the model around it is built without memory, this one is not
        network = timm.create_model(NAME, pretrained=False, num_classes=0, dynamic_img_size=True)
    return network.eval().requires_grad_(False)


def read_patches(network: nn.Module, frames: Tensor, layer: int) -> Tensor:
    """Features K 384 h w of the patches of frames K 3 H W in -1..1, after block `layer`."""
    frames = (frames + 1) / 2
    frames = (frames - _channels(MEAN, frames)) / _channels(DEVIATION, frames)
    (patches,) = network.forward_intermediates(
        frames, indices=[layer], norm=True, stop_early=True, intermediates_only=True
    )
    return patches


def _tensors(path: str, argument: str) -> dict[str, Tensor]:
    try:
        with torch.device("cpu"):  # as in build_frozen; PyTorch 2.6 would give tensors without data
            if Path(path).suffix == ".safetensors":
                return safetensors.torch.load_file(path)
            return dict(read_tensors(path))
    except Exception as error:  # torch and safetensors raise many kinds
        raise ValueError(f"{argument}={path} cannot be read as a file of tensors") from error
