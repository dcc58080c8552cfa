"""The page on a socket of this machine: nobody else is answered, nothing else is loaded."""

import socket

import fastapi
import uvicorn

from cotracker.app.desks import Desks
from cotracker.app.page import mount

HERE = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
NAMES = ("127.0.0.1", "localhost")
FETCH = "/gradio_api/file=http"  # gradio would fetch from elsewhere


def make_app(desks: Desks, largest: int) -> fastapi.FastAPI:
    """The ASGI application; largest: bytes of an upload."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def keep_here(request: fastapi.Request, go_on):
        if request.url.hostname not in NAMES or request.url.path.startswith(FETCH):
            return fastapi.Response("only this machine's own page is served", 403)
        answer = await go_on(request)
        answer.headers["Content-Security-Policy"] = HERE
        return answer

    return mount(app, desks, largest)


def serve(app: fastapi.FastAPI, listening: socket.socket) -> None:
    """Answers on a listening socket until Ctrl-C or SIGTERM, which it raises at the end."""
    settings = {"log_level": "warning", "timeout_graceful_shutdown": 1}
    uvicorn.Server(uvicorn.Config(app, **settings)).run([listening])
