"""What train.py, evaluate.py and generate.py share: how they end after an error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

FULL_MEMORY = ("not enough memory", "allocate memory", "out of memory")
DEAD_WORKER = ("dataloader worker", "exited unexpectedly")
KNOWN = (ValueError, OSError, OmegaConfBaseException)


@contextmanager
def end_in_a_sentence(program: str, interrupted: str) -> Iterator[None]:
    """A block after whose known errors the process exits with 2 and one sentence on stderr.

    interrupted: the sentence after Ctrl-C, with which it exits with 130.
    HYDRA_FULL_ERROR=1 shows the traceback. With several processes errors are raised: torchrun
    names the rank that failed first, and its error.
    """
    try:
        yield
    except KeyboardInterrupt:
        leave(program, interrupted, 130)
    except Exception as error:
        sentence = describe(error)
        full = os.environ.get("HYDRA_FULL_ERROR") == "1"
        if sentence is None or full or int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise
        leave(program, sentence)


def leave(program: str, sentence: str, code: int = 2) -> None:
    """Prints the sentence on stderr and exits with the code."""
    print(f"{program}: {sentence}", file=sys.stderr)
    sys.exit(code)


def describe(error: Exception) -> str | None:
    """What a person can do about an error; None where it is one of ours."""
    text = str(error)
    if text.startswith("Caught "):  # in a data worker, whose traceback it holds
        text = text.strip().splitlines()[-1].partition(": ")[2] or text.splitlines()[0]
    lower = text.lower()
    if isinstance(error, MissingMandatoryValue):
        key = error.full_key.replace("[", ".").replace("]", "")
        return f"{key} is required: pass {key}=…"
    if isinstance(error, MemoryError) or any(phrase in lower for phrase in FULL_MEMORY):
        return (
            "the memory is full: use a smaller batch, fewer points or fewer workers; "
            "what was saved is kept"
        )
    if isinstance(error, RuntimeError) and any(phrase in lower for phrase in DEAD_WORKER):
        return (
            "a data worker died, perhaps for lack of memory: use fewer workers; run the same "
            "command again to resume from what was saved"
        )
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return text if isinstance(error, KNOWN) else None
