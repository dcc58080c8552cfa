"""TAPNext (Zholus et al. 2025): tracking as next-token prediction, one frame after the other.

Patches and points are tokens. In each block a recurrent unit carries every token through time, then
all tokens of a frame attend to each other; so points are tracked together. A point's token holds
its position in its query's frame alone, and after it a learned token asks for the position.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cotracker.baselines.by_clip import Answer
from cotracker.baselines.tap import SquareTracker
from cotracker.baselines.weights import Published, Source, seeded

PATCH, TAPS, BINS, NEAR = 8, 4, 256, 20  # NEAR: bins around the likeliest that count
SHARPNESS = 0.5  # factor of the logits of positions
RATE = 8.0  # of the recurrent unit's decay
PUBLISHED = Published(
    "TAPNext",
    "bootstapnext_ckpt.pt and others of its module",
    "Apache-2.0",
    container="state_dict",
    computed=("query_pos_embed",),
    renames=((r"^(model|tapnext)\.", ""),),
)
State = list[tuple[Tensor, Tensor]]  # of each block: what the unit holds, L C; its last inputs


class RMSNorm(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + self.scale)


class Weighted(nn.Module):
    """A weight and a bias under the published names."""

    def __init__(self, weight: tuple[int, ...], bias: tuple[int, ...]):
        super().__init__()
        self.w = nn.Parameter(0.02 * torch.randn(weight))
        self.b = nn.Parameter(torch.zeros(bias))


class Unit(nn.Module):
    """The gated linear recurrent unit: h = a h + sqrt(1 - a^2) gate x, with a gated decay a."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        side = width // heads
        self.a_param = nn.Parameter(torch.full((width,), -5.0))
        self.input_gate = Weighted((heads, side, side), (heads, side))
        self.a_gate = Weighted((heads, side, side), (heads, side))

    def forward(self, x: Tensor, held: Tensor | None) -> Tensor:
        """What is held after x L C; held: before it, None in a video's first frame."""
        gate = self._gate(x, self.input_gate)
        if held is None:
            return gate * x
        decay = (-RATE * self._gate(x, self.a_gate) * F.softplus(self.a_param)).exp()
        return decay * held + (1 - decay.square()).sqrt() * gate * x

    def _gate(self, x: Tensor, gate: Weighted) -> Tensor:
        heads = x.unflatten(-1, (len(gate.w), -1))
        return (torch.einsum("lhi,hij->lhj", heads, gate.w) + gate.b).flatten(1).sigmoid()


class Recurrent(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.linear_y = nn.Linear(width, width)
        self.linear_x = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.conv_1d = Weighted((TAPS, width), (width,))
        self.rg_lru = Unit(width, heads)

    def forward(self, x: Tensor, state: tuple | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y = F.gelu(self.linear_y(x), approximate="tanh")
        x = self.linear_x(x)
        held, last = (None, x.new_zeros(TAPS - 1, *x.shape)) if state is None else state
        last = torch.cat([last, x[None]])  # the oldest first
        mixed = torch.einsum("kc,klc->lc", self.conv_1d.w, last) + self.conv_1d.b
        held = self.rg_lru(mixed, held)
        return self.linear_out(held * y), (held, last[1:])


class GatedMLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.ffw_up = Weighted((2, width, 4 * width), (2, 1, 1, 4 * width))
        self.ffw_down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = (x @ w + b[0, 0] for w, b in zip(self.ffw_up.w, self.ffw_up.b))
        return self.ffw_down(F.gelu(gate, approximate="tanh") * value)


class OverTime(nn.Module):
    """The recurrent block and its MLP, of each token by itself."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.temporal_pre_norm = RMSNorm(width)
        self.recurrent_block = Recurrent(width, heads)
        self.channel_pre_norm = RMSNorm(width)
        self.mlp_block = GatedMLP(width)

    def forward(self, x: Tensor, state: tuple | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, state = self.recurrent_block(self.temporal_pre_norm(x), state)
        x = x + y
        return x + self.mlp_block(self.channel_pre_norm(x)), state


class InFrame(nn.Module):
    """Attention of all tokens of a frame, and an MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps=1e-6)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width, eps=1e-6)
        up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(up, nn.GELU(), nn.Identity(), down)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)[None]
        x = x + self.self_attention(y, y, y, need_weights=False)[0][0]
        return x + self.mlp(self.ln_2(x))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ssm_block = OverTime(width, heads)
        self.vit_block = InFrame(width, heads)


def head(width: int, outputs: int) -> nn.Sequential:
    hidden = [nn.Linear(width, 256), nn.LayerNorm(256), nn.GELU()]
    hidden += [nn.Linear(256, 256), nn.LayerNorm(256), nn.GELU()]
    return nn.Sequential(*hidden, nn.Linear(256, outputs))


class TAPNextNetwork(nn.Module):
    """size: (H, W) of the frames.  width, heads, depth: of the blocks."""

    def __init__(self, size=(256, 256), width: int = 768, heads: int = 12, depth: int = 12):
        super().__init__()
        self.size, self.width = size, width
        patches = size[0] // PATCH * (size[1] // PATCH)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.unknown_token = nn.Parameter(torch.zeros(1, 1, width))
        self.point_query_token = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.image_pos_emb = nn.Parameter(0.02 * torch.randn(1, patches, width))
        self.lin_proj = nn.Conv2d(3, width, PATCH, PATCH)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.encoder_norm = nn.LayerNorm(width)
        self.visible_head = head(width, 1)
        self.coordinate_head = head(width, 2 * BINS)

    def step(
        self, frame: Tensor, queries: Tensor, number: int, state: State | None
    ) -> tuple[Tensor, Tensor, State]:
        """Logits N 512 of rows and columns, N of visibility, of one frame; and the next state.

        frame: 3 H W in -1..1.  queries: N 3, raster (t, y, x).  number: of the frame.
        state: what the frame before gave; None in the first.
        """
        patches = self.lin_proj(frame[None])[0].flatten(1).T + self.image_pos_emb[0]
        x = torch.cat([patches, self.point_tokens(queries, number)])
        following = []
        for i, block in enumerate(self.blocks):
            x, own = block.ssm_block(x, None if state is None else state[i])
            x = block.vit_block(x)
            following.append(own)
        points = self.encoder_norm(x)[len(patches) :]
        return self.coordinate_head(points), self.visible_head(points)[:, 0], following

    def point_tokens(self, queries: Tensor, number: int) -> Tensor:
        """N C: unknown before a query's frame, its position in it, a mask after it."""
        at = (queries[:, 0] - number)[:, None]
        own = self.point_query_token[0, 0] + self._embed(queries[:, 1:])
        token = torch.where(at == 0, own, self.mask_token[0, 0])
        return torch.where(at > 0, self.unknown_token[0], token)

    def _embed(self, position: Tensor) -> Tensor:
        """N C: sines and cosines of the column, then of the row, linear between pixels' centres."""
        quarter = self.width // 4
        powers = torch.arange(quarter, device=position.device) / (quarter - 1)
        codes, shares = [], []
        for at, side in zip(position.T - 0.5, self.size):
            code, share = 0, 0
            for near in (at.floor(), at.floor() + 1):
                weight = (1 - (at - near).abs()) * ((near >= 0) & (near < side))
                angle = near[:, None] * 10000.0**-powers
                waves = torch.cat([angle.sin(), angle.cos()], dim=-1)
                code, share = code + weight[:, None] * waves, share + weight
            codes.append(code)
            shares.append(share[:, None])
        return torch.cat([codes[1] * shares[0], codes[0] * shares[1]], dim=-1)


def read_positions(logits: Tensor) -> Tensor:
    """Raster (row, column), in bins, N 2, of logits N 512: means near the likeliest bins."""
    logits = logits.float().unflatten(-1, (2, BINS))
    bins = torch.arange(BINS, device=logits.device)
    far = (bins - logits.argmax(-1, keepdim=True)).abs() > NEAR
    weight = (SHARPNESS * logits).softmax(-1).masked_fill(far, 0)
    return (weight * bins).sum(-1) / weight.sum(-1) + 0.5


class TAPNext(SquareTracker):
    """TAPNext at 256 x 256, frame by frame, forward; all points together."""

    both_directions = False
    joint = True

    def __init__(self, checkpoint: Source | None, device: str = "auto"):
        super().__init__()
        self.network = seeded(TAPNextNetwork)
        self.checkpoint = PUBLISHED.load(self.network, checkpoint)
        self.place(device)

    def track_square(self, frames: Tensor, queries: Tensor) -> Answer:
        asked, state = queries[:, [0, 2, 1]], None
        xy, visible = [], []
        for number, frame in enumerate(frames):
            logits, seen, state = self.network.step(frame, asked, number, state)
            xy.append(read_positions(logits).flip(-1))
            visible.append(seen)
        score = torch.stack(visible).sigmoid()
        scale = queries.new_tensor(self.size[::-1]) / BINS
        return torch.stack(xy) * scale, score, score > 0.5
