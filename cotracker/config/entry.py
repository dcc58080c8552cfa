"""What train.py, evaluate.py and generate.py share: how they begin, and end after an error."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from cotracker.config.overrides import refuse_misspelt
from cotracker.config.words import config_name
from cotracker.files import public_name

FULL_MEMORY = ("not enough memory", "allocate memory", "out of memory")
DEAD_WORKER = ("dataloader worker", "exited unexpectedly", "dataloader timed out")
KNOWN = (ValueError, OSError, OmegaConfBaseException)


def begin(folder: Path, name: str) -> str:
    """The name of the config that the command line chooses; its words are made Hydra's.

    It is `name`, or for evaluate a table or figure. Called before PyTorch is imported: a wrong word
    is answered at once, and so is Ctrl-C.
    """
    signal.signal(signal.SIGINT, _end_at_once)
    words = sys.argv[1:]
    if name == "evaluate":
        try:
            table, words = config_name(folder, words)
        except ValueError as error:
            leave(f"{name}.py", str(error))
        name = table or name
    sys.argv[1:] = refuse_misspelt(folder, name, words)
    return name


def _end_at_once(*_) -> None:
    print("interrupted before the start", file=sys.stderr, flush=True)
    os._exit(130)


@contextmanager
def end_in_a_sentence(program: str, interrupted: str, by_torchrun: bool = False) -> Iterator[None]:
    """A block after whose known errors the process exits with 2 and one sentence on stderr.

    interrupted: the sentence after Ctrl-C, with which it exits with 130.
    by_torchrun: with several processes errors are raised, as torchrun then names the rank that
    failed first, and its error.
    HYDRA_FULL_ERROR=1 shows the traceback.
    """
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        leave(program, interrupted, 130)
    except Exception as error:
        sentence = describe(error)
        full = os.environ.get("HYDRA_FULL_ERROR") == "1"
        raised = by_torchrun and int(os.environ.get("WORLD_SIZE", 1)) > 1
        if sentence is None or full or raised:
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
        return f"{public_name(str(error.filename))}: {error.strerror}"
    return text if isinstance(error, KNOWN) else None
