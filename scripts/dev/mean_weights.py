"""Average the weights of two checkpoints of one model, the second continued from the first.

python scripts/dev/mean_weights.py ONE.safetensors OTHER.safetensors OUT.safetensors --share 0.3
The card is the other's, with `mean_of`: the hashes and shares of both; its
licence is the strictest. Checkpoints without a common ancestor are refused.
"""

import argparse
import sys
from pathlib import Path

from refusal import refuse_in_a_sentence
from torch import Tensor

from cotracker import checkpoint, checks
from cotracker.provenance import strictest_licence


@refuse_in_a_sentence
def main(argv: list[str] | None = None) -> None:
    """Exit code 0, or 2 and one sentence; then nothing is written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--share", type=float, default=0.5, help="of the other in the mean, from 0 to 1"
    )
    arguments = parser.parse_args(argv)
    card = average(arguments.one, arguments.other, arguments.out, arguments.share)
    print(f"{arguments.out} has the weights {card['hash'][:12]}")


def average(one: Path, other: Path, out: Path, share: float) -> dict:
    """The card of the mean written at `out`; ValueError where two checkpoints have no mean."""
    checks.share("--share", share)
    first, model = checkpoint.load_model(one), checkpoint.load_model(other)
    if first.config != model.config:
        raise ValueError(f"{one} and {other} hold models of different settings")
    cards = checkpoint.read_card(one), checkpoint.read_card(other)
    one_run = cards[0].get("training") and cards[0]["training"] == cards[1].get("training")
    if not one_run and not lineage(cards[0]) & lineage(cards[1]):
        raise ValueError(
            f"the cards of {one} and {other} name no common checkpoint: average related ones"
        )
    parts = zip(first.state_dict().values(), model.state_dict().items(), strict=True)
    model.load_state_dict({name: mix(early, late, share) for early, (name, late) in parts})
    shares = [
        {"hash": card["hash"], "share": part} for card, part in zip(cards, (1 - share, share))
    ]
    licence = strictest_licence(one.get("licence") for one in reversed(cards))
    card = cards[1] | {"mean_of": shares, "licence": licence}
    card.pop("metrics", None)  # measured with other weights
    return checkpoint.save(out, model, card)


def lineage(card: object) -> set[str]:
    """The hashes of a checkpoint and of its ancestors, by its card; none for another form."""
    hashes = []
    while isinstance(card, dict):
        parts = card.get("mean_of")
        parts = [card, *(parts if isinstance(parts, list) else [])]
        hashes += [part.get("hash") for part in parts if isinstance(part, dict)]
        card = card.get("init_from")
    return {value for value in hashes if isinstance(value, str)}


def mix(one: Tensor, other: Tensor, share: float) -> Tensor:
    """The weighted mean, rounded once from float64; integers are the other's."""
    if not other.is_floating_point():
        return other
    return (one.double() * (1 - share) + other.double() * share).to(other.dtype)


if __name__ == "__main__":
    sys.exit(main())
