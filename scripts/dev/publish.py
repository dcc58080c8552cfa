"""Write a run's checkpoint with measured numbers and notes in its card.

python scripts/dev/publish.py RUN/model.safetensors checkpoints/NAME.safetensors \\
    --results A/results.json … --set key=value
"""

import argparse
import json
import sys
from pathlib import Path

from refusal import refuse_in_a_sentence

from cotracker import checkpoint
from cotracker.files import parse_json


@refuse_in_a_sentence
def main(argv: list[str] | None = None) -> None:
    """Exit code 0, or 2 and one sentence; then nothing is written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--results",
        type=Path,
        nargs="*",
        default=[],
        help="results.json of evaluate.py, of this very file",
    )
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="further entries of the card"
    )
    arguments = parser.parse_args(argv)
    publish(arguments.checkpoint, arguments.out, arguments.results, arguments.set)


def publish(path: Path, out: Path, results: list[Path], words: list[str]) -> None:
    """Writes `out`; ValueError for another checkpoint's result, or missing licence or data."""
    model, card = checkpoint.load_model(path), checkpoint.read_card(path)
    metrics = [read_result(result, card["hash"]) for result in results]
    notes = dict(parse_note(word) for word in words)
    card = card | {"metrics": metrics} | notes
    for needed in ("licence", "data"):
        if not card.get(needed):
            raise ValueError(f"the card names no {needed}: pass --set {needed}=…")
    card = checkpoint.save(out, model, card)
    print(
        f"wrote {out}: {card['parameters']} parameters, {len(metrics)} benchmarks, "
        f"hash {card['hash'][:12]}"
    )


def read_result(path: Path, weights: str) -> dict:
    """The card's entry of a results.json: benchmark, protocol, counts, mean, commit."""
    try:
        result = json.loads(path.read_text())
        kept = {
            key: result[key]
            for key in ("benchmark", "protocol", "found", "expected", "mean", "commit")
        }
        other = result["checkpoint"]["hash"]
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a results.json that evaluate.py wrote") from error
    if other != weights:
        raise ValueError(
            f"{path} was measured with other weights ({str(other)[:12]}, these are {weights[:12]})"
        )
    return kept


def parse_note(word: str) -> tuple[str, object]:
    """Key and value of `key=value`: text, or JSON where the card holds something else there."""
    key, equals, value = word.partition("=")
    if not equals or not key:
        raise ValueError(f"--set takes key=value, not {word!r}")
    if checkpoint.CARD.get(f"{key}?", str) is str:
        return key, value
    try:
        return key, parse_json(value)
    except ValueError as error:
        raise ValueError(f"--set {key}= takes a number or a list, not {value!r}") from error


if __name__ == "__main__":
    sys.exit(main())
