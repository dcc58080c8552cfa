"""The page itself, the one file that knows gradio: what is shown, and which desk does what."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr

from cotracker.app.asked import MOST
from cotracker.app.desk import Desk
from cotracker.app.desks import Desks
from cotracker.app.looks import CSS, FONTS, HELP, TOO_LARGE, script, status_html, tell_progress
from cotracker.app.pictures import from_picture
from cotracker.app.work import ADD, MODES, Work
from cotracker.interchange import FORMATS

PROGRESS = gr.Progress()  # each call is given its own


def mount(app, desks: Desks, largest: int):
    """The ASGI application with the page at /; largest: bytes of an upload."""
    page = Page(desks, largest).build().queue(default_concurrency_limit=None, api_open=False)
    looks = {"theme": gr.themes.Default(**FONTS), "css": CSS, "head": script(largest)}
    return gr.mount_gradio_app(app, page, "", server_name="127.0.0.1", max_file_size=largest,
                               footer_links=[], run_history=False, ssr_mode=False, pwa=False,
                               enable_monitoring=False, mcp_server=False, **looks)  # fmt: skip


def take_number(slider: gr.Slider, payload: float | None) -> float:
    """A typed number, or the nearest end where it is none or beyond the ends."""
    return min(max(payload or 0, slider.minimum), slider.maximum)


gr.Slider.preprocess = take_number  # of a subclass gradio would write a .pyi file beside this one


class Page:
    """The parts of the page, and what each of them calls."""

    def __init__(self, desks: Desks, largest: int):
        self.desks, self.largest = desks, largest

    def build(self) -> gr.Blocks:
        """The page, all parts of it connected."""
        with gr.Blocks(title="CoTracker", analytics_enabled=False) as page:
            self.status = gr.HTML(status_html("Open a video to begin."), elem_id="status")
            with gr.Row():
                with gr.Column(scale=3):
                    self._lay_out_pictures()
                with gr.Column(scale=2):
                    self._lay_out_points()
                    self._lay_out_mask()
                    self._lay_out_tracking()
                    self._lay_out_results()
            gr.HTML(HELP)
            self._connect()
            self._connect_tracking()
            page.unload(self.leave)
        return page

    def _lay_out_pictures(self) -> None:
        label = f"Video, at most {self.largest / 1e6:,.0f} MB"
        self.upload = gr.File(label=label, height=120, elem_id="upload")
        self.picture = gr.Image(label="Frame", interactive=False, elem_id="picture", buttons=[],
                                alt_text="the frame with its points")  # fmt: skip
        self.frame = gr.Slider(0, 1, 0, step=1, label="Frame number", elem_id="frame")
        self.film = gr.Video(label="Overlay", interactive=False, elem_id="film", buttons=[])

    def _lay_out_points(self) -> None:
        self.mode = gr.Radio(MODES, value=ADD, label="A click on the frame", elem_id="mode")
        with gr.Row():
            self.x = gr.Number(0, label="x", elem_id="x", min_width=70)
            self.y = gr.Number(0, label="y", elem_id="y", min_width=70)
            self.put = gr.Button("Click there", elem_id="put", min_width=90)
        with gr.Row():
            self.name = gr.Textbox(label="Name of the next point", max_lines=1, elem_id="name",
                                   min_width=140)  # fmt: skip
            self.point = gr.Dropdown([], label="Point to correct", elem_id="point", min_width=140)
        label = "Points a side of a grid: over the frame, in a box, in a mask"
        self.side = gr.Slider(1, MOST, 5, step=1, label=label, elem_id="side")
        self.grid = gr.Button("Grid over the frame", elem_id="grid")

    def _lay_out_mask(self) -> None:
        with gr.Accordion("Mask", open=False, elem_id="mask"):
            self.mask_file = gr.File(label="A mask's picture", height=120, elem_id="mask-file")
            self.begin = gr.Button("Paint on this frame", elem_id="begin")
            self.paint = gr.ImageEditor(label="Paint", sources=(), transforms=(), layers=False,
                                        brush=gr.Brush(colors=["#ff3030"], color_mode="fixed"),
                                        buttons=[], elem_id="paint")  # fmt: skip
            self.painted = gr.Button("Grid in what is painted", elem_id="painted")

    def _lay_out_tracking(self) -> None:
        names = self.desks.trackers.names
        self.checkpoint = gr.Dropdown(list(names), value=names[0], label="Checkpoint")
        with gr.Row():
            self.track = gr.Button("Track", variant="primary", elem_id="track", min_width=80)
            self.cancel = gr.Button("Cancel", elem_id="cancel", min_width=80)
            self.undo = gr.Button("Undo", elem_id="undo", min_width=80)

    def _lay_out_results(self) -> None:
        names = list(self.desks.trackers.names)
        self.least = gr.Slider(0, 1, 0, step=0.01, label="Least confidence", elem_id="least")
        self.play = gr.Button("Play the overlay", elem_id="play")
        with gr.Row():
            self.other = gr.Dropdown(names, value=names[-1], label="Compare with", min_width=200,
                                     elem_id="other")  # fmt: skip
            self.compare = gr.Button("Compare", elem_id="compare", min_width=80)
        with gr.Row():
            self.kind = gr.Dropdown(list(FORMATS), value="npz", label="File for", elem_id="kind",
                                    min_width=120)  # fmt: skip
            self.export = gr.Button("Write the file", elem_id="export", min_width=80)
        self.file = gr.DownloadButton("Download", interactive=False, elem_id="file")

    def _connect(self) -> None:
        gr.Button(visible="hidden", elem_id="refused").click(None, None, self.status, js=TOO_LARGE)
        at, shown = [self.frame, self.least], [self.status, self.picture, self.point]
        quiet = {"show_progress": "hidden"}
        click = [*at, self.mode, self.name, self.side]
        often = {"trigger_mode": "multiple", **quiet}
        begun = [*shown, self.frame, self.upload, self.film, self.file, self.paint]
        self.upload.upload(self.open, self.upload, begun, show_progress_on=self.status)
        self.frame.change(self.show, at, self.picture, trigger_mode="always_last", **quiet)
        self.least.change(self.show, at, self.picture, trigger_mode="always_last", **quiet)
        self.picture.select(self.click, click, [*shown, self.name], **often)
        self.put.click(self.click_at, [*click, self.x, self.y], [*shown, self.name], **often)
        self.point.input(self.choose, [*at, self.point], shown, **quiet)
        self.grid.click(self.add_grid, [*at, self.side], shown, **quiet)
        self.mask_file.upload(self.add_mask, [*at, self.mask_file, self.side],
                              [*shown, self.mask_file], **quiet)  # fmt: skip
        self.begin.click(self.begin_painting, self.frame, [self.status, self.paint], **quiet)
        self.painted.click(self.add_painted, [*at, self.paint, self.side], shown, **quiet)
        self.undo.click(self.take_back, at, shown, **quiet)

    def _connect_tracking(self) -> None:
        at, shown = [self.frame, self.least], [self.status, self.picture, self.point]
        above = {"show_progress_on": self.status}
        self.track.click(self.run, [*at, self.checkpoint], shown, **above)
        self.compare.click(self.set_beside, [*at, self.other], [*shown, self.film], **above)
        self.play.click(self.show_film, self.least, [self.status, self.film], **above)
        self.cancel.click(self.stop, None, self.status, queue=False, show_progress="hidden")
        self.export.click(self.write, [self.kind, self.least], [self.status, self.file])

    def open(self, upload: str, request: gr.Request, progress=PROGRESS) -> list:
        """`begun`: the first frame of an uploaded video, or a sentence on what is wrong with it."""
        progress(0, "reading the video")
        status, told = self._attempt(request, lambda desk: desk.open(Path(upload)))
        if told is None:
            return [status, *[gr.skip()] * 3, None, *[gr.skip()] * 3]
        slider = gr.Slider(maximum=self.desks.of(request.session_hash).last_frame, value=0)
        return [*self._shown(request, status, 0, 0), slider, None, None, _no_file(), None]

    def show(self, t: float, least: float, request: gr.Request):
        """The picture of a frame."""
        return self._attempt(request, lambda desk: str(desk.picture(int(t), least)))[1]

    def click(self, t, least, mode, name, side, request: gr.Request, event: gr.SelectData) -> list:
        """`shown`, and an empty name, after a click on the picture."""
        _, times = self._attempt(request, lambda desk: desk.enlargement)
        x, y = from_picture(event.index, times or 1)
        return self.click_at(t, least, mode, name, side, x, y, request)

    def click_at(self, t, least, mode, name, side, x, y, request: gr.Request) -> list:
        """`shown`, and an empty name, after a click at (x, y)."""
        at = (int(t), float(x or 0), float(y or 0))
        shown = self._do(request, t, least, lambda work: work.click(mode, *at, name, int(side)))
        return [*shown, "" if mode == ADD and "wrong" not in shown[0] else gr.skip()]

    def choose(self, t, least, point, request: gr.Request) -> list:
        return self._do(request, t, least, lambda work: work.choose(point))

    def add_grid(self, t, least, side, request: gr.Request) -> list:
        return self._do(request, t, least, lambda work: work.add_grid(int(side), int(t)))

    def add_mask(self, t, least, upload, side, request: gr.Request) -> list:
        def add(desk: Desk) -> str:
            mask = desk.take(Path(upload))
            return desk.do(lambda work: work.add_mask(mask, int(side), int(t)))

        return [*self._shown(request, self._attempt(request, add)[0], t, least), None]

    def begin_painting(self, t, request: gr.Request) -> list:
        status, path = self._attempt(request, lambda desk: str(desk.canvas(int(t))))
        if path is None:
            return [status, gr.skip()]
        begun = {"background": path, "layers": [], "composite": None}
        return [status_html("Paint over what shall be tracked."), begun]

    def add_painted(self, t, least, painted, side, request: gr.Request) -> list:
        def add(work: Work) -> str:
            if not painted or not painted["layers"]:
                raise ValueError("nothing is painted: press Paint on this frame, and paint")
            return work.add_mask(painted["layers"][0], int(side), int(t))

        return self._do(request, t, least, add)

    def take_back(self, t, least, request: gr.Request) -> list:
        return self._do(request, t, least, Work.undo)

    def run(self, t, least, checkpoint, request: gr.Request, progress=PROGRESS) -> list:
        return self._do(request, t, least, lambda work: work.track(checkpoint), progress)

    def set_beside(self, t, least, other, request: gr.Request, progress=PROGRESS) -> list:
        shown = self._do(request, t, least, lambda work: work.compare(other), progress)
        wrong = "wrong" in shown[0]
        return [*shown, gr.skip() if wrong else self.show_film(least, request, progress)[1]]

    def show_film(self, least, request: gr.Request, progress=PROGRESS) -> list:
        told = tell_progress(progress)
        status, path = self._attempt(request, lambda desk: str(desk.overlay(least, told)))
        return [status if path is None else status_html("The overlay is written."), path]

    def stop(self, request: gr.Request) -> str:
        return self._attempt(request, Desk.cancel)[0]

    def write(self, kind, least, request: gr.Request) -> list:
        status, path = self._attempt(request, lambda desk: str(desk.export(kind, least)))
        if path is None:
            return [status, _no_file()]
        name = Path(path).name
        button = gr.DownloadButton(f"Download {name}", value=path, interactive=True)
        return [status_html(f"{name} is written."), button]

    def leave(self, request: gr.Request) -> None:
        """Ends the session of a tab that was closed."""
        self.desks.close(request.session_hash)

    def _do(self, request, t, least, action, progress=None) -> list:
        """`shown` after an action on the work."""
        told = None if progress is None else tell_progress(progress)
        status, _ = self._attempt(request, lambda desk: desk.do(action, told))
        return self._shown(request, status, t, least)

    def _shown(self, request, status: str, t: float, least: float) -> list:
        """The status, the picture, and the points that can be corrected."""
        picture = self.show(t, least, request)
        if picture is None:
            return [status, gr.skip(), gr.skip()]
        work = self.desks.of(request.session_hash).work
        choices = [(name, one) for one, name in work.points.items()]
        return [status, picture, gr.Dropdown(choices, value=work.chosen)]

    def _attempt(self, request, action: Callable[[Desk], str]) -> tuple[str, str | None]:
        """The status after an action, and what it gave; None where it could not be done."""
        try:
            given = action(self.desks.of(request.session_hash))
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            return status_html(self.desks.say(error), wrong=True), None
        return status_html(str(given)), given


def _no_file() -> gr.DownloadButton:
    return gr.DownloadButton("Download", value=None, interactive=False)
