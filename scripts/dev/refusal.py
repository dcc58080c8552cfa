"""One sentence instead of a traceback, for the programs of this folder."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path


def refuse_in_a_sentence(main: Callable[[list[str] | None], int | None]) -> Callable:
    """A `main` whose exit code is its own or 0; 2 after one sentence on stderr about an error."""

    @wraps(main)
    def run(argv: list[str] | None = None) -> int:
        try:
            return main(argv) or 0
        except (ValueError, OSError) as error:
            program = Path(main.__code__.co_filename).name
            print(f"{program}: {str(error).splitlines()[0]}", file=sys.stderr)
            return 2

    return run
