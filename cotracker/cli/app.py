"""`cotracker app`: the page in a browser, served to this machine alone."""

import argparse
import os
import socket
from contextlib import suppress

from cotracker import checks
from cotracker.app.desks import open_desks
from cotracker.app.trackers import Trackers
from cotracker.cli import Terminated
from cotracker.cli import arguments as kinds
from cotracker.trackers.options import TrackerOptions

HOST = "127.0.0.1"
LARGEST = 2_000_000_000  # bytes of an upload
PRIVATE = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


def add_to(commands) -> None:
    """Adds `app` to the subparsers of the command line."""
    command = commands.add_parser("app", help="a page to click points on, track and download")
    command.set_defaults(run=run)
    add, default = command.add_argument, TrackerOptions()
    port = "of http://127.0.0.1:PORT (default: 7860; 0 takes a free one)"
    largest = "the largest upload, such as 500MB or 4GB (default: 2GB)"
    checkpoint = "one more to choose from in the page; may be given several times"
    size = kinds.parse_size
    add("--port", type=kinds.parse_whole, default=7860, metavar="PORT", help=port)
    add("--max-upload", type=kinds.parse_memory, default=LARGEST, metavar="SIZE", help=largest)
    add("--checkpoint", action="append", default=[], metavar="NAME_OR_FILE", help=checkpoint)
    damaged = "refuse damaged videos, or repeat the last good frame (default: refuse)"
    add("--damaged", choices=["refuse", "repeat"], default="refuse", help=damaged)
    add("--device", choices=kinds.DEVICES, default="auto", help="default: a GPU if there is one")
    add("--resolution", type=size, default=default.resolution, metavar="HxW",
        help="size tracked at (default: 384x512)")  # fmt: skip
    add("--iters", type=kinds.parse_positive, default=default.iters, metavar="M",
        help="refinement iterations in a window (default: 6)")  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    """Serves the page until Ctrl-C or SIGTERM; what people uploaded is then removed."""
    os.environ |= PRIVATE  # before gradio is imported
    options = TrackerOptions(iters=arguments.iters, resolution=arguments.resolution,
                             device=arguments.device)  # fmt: skip
    trackers = Trackers(arguments.checkpoint, options)
    listening = _listen(arguments.port)
    with listening, open_desks(trackers, damaged=arguments.damaged) as desks:
        os.environ["GRADIO_TEMP_DIR"] = str(desks.root)  # so that nothing lies elsewhere
        server = _import_server()
        app = server.make_app(desks, arguments.max_upload)
        print(f"open http://{HOST}:{listening.getsockname()[1]} in a browser; Ctrl-C ends it",
              flush=True)  # fmt: skip
        with suppress(KeyboardInterrupt, Terminated):
            server.serve(app, listening)
    print("ended; what was uploaded is removed")


def _listen(port: int) -> socket.socket:
    """A socket that listens on a port of this machine alone; ValueError where that is taken."""
    checks.whole("--port", port, 0, 65535)
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise ValueError(
            f"--port {port} cannot be used ({error}): choose another, or 0 for a free one"
        ) from error


def _import_server():
    try:
        from cotracker.app import server
    except ImportError as error:
        raise ValueError(f"the app needs gradio: pip install 'cotracker[app]' ({error})") from error
    return server
