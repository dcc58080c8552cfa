"""The command line, `cotracker COMMAND …`: messages and exit codes; each command has a file."""

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

# before PyTorch is loaded: waiting threads sleep soon (docs/speed.md)
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

import cotracker
from cotracker.files import public_name

COMMANDS = (  # files here
    *("data", "compare", "bench", "export", "export_onnx"),
    *("track", "live", "track_folder", "app"),
)


class Terminated(BaseException):
    """SIGTERM was received: what is half written is removed on the way out."""


def main(argv: list[str] | None = None) -> int:
    """The exit code of a command line: 0, or as exit_code says."""

    def run() -> int | None:
        arguments = _make_parser().parse_args(argv)
        return arguments.run(arguments)

    return exit_code(run)


def exit_code(run: Callable[[], int | None]) -> int:
    """What `run` returns, or 0; 2 after one sentence on stderr about an error.

    130 after Ctrl-C, 143 after SIGTERM.
    Errors that are neither the user's nor the machine's are raised.
    """
    try:
        with _sigterm_raised(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return run() or 0
    except SystemExit as end:  # argparse: --help, or a wrong argument
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _refuse("interrupted, nothing was written", 130)
    except Terminated:
        return _refuse("ended by SIGTERM, nothing was written", 143)
    except (MemoryError, RuntimeError) as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of a GPU
            return _refuse(
                "the device's memory is full: "
                "use fewer --points-at-once, a smaller --resolution, or --device cpu"
            )
        if not _is_out_of_memory(error):
            raise
        return _refuse(
            "this machine's memory is full: "
            "use fewer points or --points-at-once, or a smaller --resolution"
        )
    except OSError as error:
        name = public_name(str(error.filename or ""))
        return _refuse(f"{name}: {error.strerror}" if name else str(error))
    except ValueError as error:
        return _refuse(str(error))


@contextmanager
def _sigterm_raised() -> Iterator[None]:
    """A block in which SIGTERM raises Terminated; threads but the main one cannot set that."""

    def terminate(*_) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether this is Python's and NumPy's own error, or a message of torch's CPU allocator."""
    message = str(error).lower()
    phrases = ("not enough memory", "allocate memory", "out of memory")
    return isinstance(error, MemoryError) or any(phrase in message for phrase in phrases)


def _show_warning(message: Warning | str, *_) -> None:
    """One line on stderr, without the place in the code that warnings show by default."""
    _refuse(str(message), 0)


def _refuse(sentence: str, code: int = 2) -> int:
    print(f"cotracker: {' '.join(sentence.split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(_refuse(f"{message}; see {self.prog} --help"))


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cotracker",
        description="Track points through a video, check data to train on, compare results.",
    )
    parser.add_argument("--version", action="version", version=f"cotracker {cotracker.__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=_Parser
    )
    for name in COMMANDS:
        import_module(f"cotracker.cli.{name}").add_to(commands)  # imports PyTorch
    return parser


if __name__ == "__main__":
    sys.exit(main())
