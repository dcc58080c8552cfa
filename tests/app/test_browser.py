"""The page in a real browser, Debian's Chromium: from an upload to a download."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotracker.checkpoint import SHIPPED, find
from cotracker.data.synthetic.sprites import Sprites
from cotracker.data.video import write_video
from cotracker.interchange import FORMATS, read_tracks

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.extras,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
]
FRAMES, H, W = 16, 240, 320
WAIT = 60_000  # milliseconds for what a busy machine does
LARGEST = 4_000_000
VIEW = {"width": 1200, "height": 1220}
DROP = f"""name => {{
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array({LARGEST + 1})], name));
  document.querySelector("#upload button").dispatchEvent(
    new DragEvent("drop", {{dataTransfer: data, bubbles: true, cancelable: true}}));
}}"""
READY = f"{FRAMES} frames of {W}x{H}, 10 a second."


@cache
def clip():
    """A Clip of sprites, and where its points are."""
    scenes = Sprites(frames=FRAMES, height=H, width=W, points=60)
    return scenes.clip(np.random.default_rng(5))


def place(point: int, frame: int) -> tuple[float, float]:
    """The pixel where a point of the clip is, seen in this frame."""
    assert clip().visible[frame, point]
    return tuple(clip().tracks[frame, point].round().tolist())


def start(folder: Path, *words) -> tuple[subprocess.Popen, str]:
    """`cotracker app` in a process whose temporary files lie in `folder`; and its address."""
    command = [sys.executable, "-m", "cotracker", "app", "--port", "0", *map(str, words)]
    environment = os.environ | {"TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert address, "it did not say where the page is"
    return process, address[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a running page with two checkpoints, and where its files lie."""
    folder = tmp_path_factory.mktemp("server")
    other = shutil.copy(find(SHIPPED), folder / "other.safetensors")
    process, address = start(folder, "--checkpoint", other, "--resolution", "96x128",
                             "--iters", 2, "--max-upload", "4MB")  # fmt: skip
    yield address, folder
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def uploads(tmp_path_factory) -> Path:
    """A folder with a clip, a mask, and files that are no videos."""
    folder = tmp_path_factory.mktemp("uploads")
    video = clip().video.permute(0, 2, 3, 1).contiguous().numpy()
    write_video(folder / "clip.mp4", video, 10.0, (H, W))
    write_video(folder / "one.mp4", video[:1], 10.0, (H, W))
    (folder / "empty.mp4").touch()
    (folder / "notes.mp4").write_text("These are words.\n" * 50)
    (folder / "large.mp4").write_bytes(bytes(LARGEST + 1))
    labels = np.zeros((H, W), np.uint8)
    labels[40:150, 60:200] = 1
    Image.fromarray(labels).save(folder / "mask.png")
    return folder


class Visitor:
    """A person with a page of their own, and all addresses that it asked."""

    def __init__(self, browser, address: str):
        self.context = browser.new_context(viewport=VIEW, accept_downloads=True)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.told("Open a video to begin.")

    def told(self, words: str) -> str:
        """The status, once it has these words."""
        self.page.wait_for_function(
            "words => document.querySelector('#status [role=status]')?.innerText.includes(words)",
            arg=words, timeout=WAIT)  # fmt: skip
        return self.page.inner_text("#status [role=status]")

    def open(self, path: Path, words: str = READY) -> str:
        self.page.set_input_files("#upload input[type=file]", path)
        return self.told(words)

    def press(self, name: str, words: str) -> str:
        self.page.locator(f"button#{name}, #{name} button").first.click()
        return self.told(words)

    def mode(self, words: str) -> None:
        self.page.get_by_role("radio", name=words).check()

    def click(self, x: float, y: float, words: str) -> str:
        """Clicks the middle of a pixel of the frame."""
        picture = self.page.locator("#picture img")
        box = picture.bounding_box()
        at = {"x": (x + 0.5) * box["width"] / W, "y": (y + 0.5) * box["height"] / H}
        picture.click(position=at)
        return self.told(words)

    def go(self, frame: int) -> None:
        """To a frame, with the arrow keys alone."""
        slider = self.page.locator("#frame input[type=range]")
        shown = self.page.locator("#picture img")
        while (now := int(slider.input_value())) != frame:
            before = shown.get_attribute("src")
            self.page.locator("body").press("ArrowRight" if now < frame else "ArrowLeft")
            self.page.wait_for_function(
                "src => document.querySelector('#picture img').src !== src", arg=before,
                timeout=WAIT)  # fmt: skip

    def download(self, kind: str, folder: Path) -> Path:
        self.page.locator("#kind input").click()
        self.page.get_by_role("option", name=kind, exact=True).click()
        self.press("export", f"{FORMATS[kind].suffix} is written.")
        with self.page.expect_download(timeout=WAIT) as saved:
            self.page.locator("#file").click()
        path = folder / saved.value.suggested_filename
        saved.value.save_as(path)
        return path

    def shoot(self, path: Path) -> None:
        self.page.wait_for_timeout(700)  # for what fades in
        self.page.screenshot(path=path, type="jpeg", quality=60)


@pytest.fixture
def visit(browser, server):
    """A function that lets one more person open the page; nothing is asked of elsewhere."""
    visitors = []

    def enter() -> Visitor:
        visitors.append(Visitor(browser, server[0]))
        return visitors[-1]

    yield enter
    for one in visitors:
        one.context.close()
        web = [url for url in one.asked if not url.startswith(("data:", "blob:"))]
        assert web and all(url.startswith(server[0]) for url in web)


def test_from_upload_to_download(visit, uploads, tmp_path):
    me = visit()
    me.open(uploads / "clip.mp4")
    ball, flank, later = place(41, 0), place(12, 0), place(41, 10)
    me.page.locator("#name textarea, #name input").fill("ball")
    me.click(*ball, "1 point wait")
    assert me.page.locator("#name textarea, #name input").input_value() == ""
    me.click(*flank, "2 points wait")
    me.mode("draw a box")
    me.click(215, 165, "The first corner is set")
    me.click(295, 215, "27 points wait")
    me.shoot(tmp_path / "clicked.jpg")
    me.page.locator("body").press("u")
    me.told("2 points wait for Track.")
    me.page.locator("body").press("t")
    me.told(f"2 points in {FRAMES} frames tracked.")
    me.go(10)
    me.mode("correct")
    me.page.locator("#point input").click()
    me.page.get_by_role("option", name="ball").click()
    me.told("ball: click where it is.")
    me.shoot(tmp_path / "before.jpg")
    me.click(*later, "ball is at (")
    me.page.mouse.move(5, 5)
    me.shoot(tmp_path / "corrected.jpg")
    me.press("play", "The overlay is written.")
    me.page.wait_for_function("document.querySelector('#film video').readyState >= 2", timeout=WAIT)
    seconds = me.page.evaluate("document.querySelector('#film video').duration")
    assert abs(seconds - FRAMES / 10) < 0.11
    me.page.evaluate("document.querySelector('#film video').play()")
    me.page.wait_for_function("document.querySelector('#film video').currentTime > 1", timeout=WAIT)
    me.shoot(tmp_path / "overlay.jpg")
    for kind in ("npz", "csv", "dlc-csv"):
        path = me.download(kind, tmp_path)
        assert path.name == f"clip{FORMATS[kind].suffix}"
        tracks = read_tracks(path)
        assert tracks.names == ("ball", "p1") and tracks.xy.shape == (1, FRAMES, 2, 2)
        np.testing.assert_allclose(
            tracks.xy[0, 10, 0], later, atol=0.5
        )  # to where the mouse can point
        np.testing.assert_allclose(tracks.xy[0, 0], [ball, flank], atol=0.5)


def test_what_is_no_video_is_a_sentence_in_the_page(visit, uploads, server, tmp_path):
    me = visit()
    sentences = {
        "empty": "empty.mp4 is an empty file: copy it again",
        "notes": "notes.mp4 cannot be decoded as a video",
        "one": "one.mp4 has one frame: there is nothing to track in it",
    }
    for name, sentence in sentences.items():
        me.open(uploads / f"{name}.mp4", sentence)
        me.shoot(tmp_path / f"bad_{name}.jpg")
    me.open(uploads / "large.mp4", "large.mp4 is larger than 4 MB, the most that this page takes")
    me.shoot(tmp_path / "bad_large.jpg")
    me.open(uploads / "one.mp4", sentences["one"])
    me.page.evaluate(DROP, "dropped.mp4")
    me.told("dropped.mp4 is larger than 4 MB")
    post, get = me.context.request.post, me.context.request.get
    large = {"name": "large.mp4", "mimeType": "video/mp4", "buffer": bytes(LARGEST + 1)}
    at = server[0]
    assert post(f"{at}/gradio_api/upload", multipart={"files": large}).status == 413
    assert get(at, headers={"Host": "example.org"}).status == 403
    assert get(f"{at}/gradio_api/file=http://127.0.0.1:1/x").status == 403
    me.press("track", "there is no video yet: open one")
    assert me.page.locator("#status .wrong").count() == 1
    me.open(uploads / "clip.mp4")


def test_masks_and_the_keyboard_alone(visit, uploads):
    me = visit()
    me.open(uploads / "clip.mp4")
    me.page.get_by_role("button", name="Mask").click()
    me.page.set_input_files("#mask-file input[type=file]", uploads / "mask.png")
    points = int(me.told("points wait").split()[0])
    assert 4 <= points < 25
    me.press("undo", "0 points wait")
    me.press("begin", "Paint over what shall be tracked.")
    canvas = me.page.locator("#paint canvas").first
    canvas.wait_for(timeout=WAIT)
    me.page.wait_for_timeout(3000)
    box = canvas.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    me.page.mouse.move(*middle)
    me.page.mouse.down()
    for k in range(20):
        me.page.mouse.move(middle[0] + 3 * k, middle[1] + k)
    me.page.mouse.up()
    me.page.wait_for_timeout(1000)
    side = me.page.locator("#side input[type=number]")
    side.fill("40")
    side.press("Enter")
    me.press("painted", "points wait")
    me.page.locator("#x input").fill("30.5")
    me.page.keyboard.press("Tab")
    me.page.keyboard.type("20")
    before = int(me.told("points wait").split()[0])
    me.page.keyboard.press("Tab")
    me.page.keyboard.press("Enter")
    me.told(f"{before + 1} points wait")


def test_two_checkpoints_beside_each_other_and_a_filter(visit, uploads):
    me = visit()
    me.open(uploads / "clip.mp4")
    me.press("grid", "25 points wait")
    me.press("track", f"25 points in {FRAMES} frames tracked.")
    assert me.press("compare", "apart in the median").startswith(f"Left {SHIPPED}, right other")
    me.page.wait_for_function(
        "document.querySelector('#film video').videoWidth > 500", timeout=WAIT
    )
    src = me.page.locator("#picture img").get_attribute("src")
    for number in ("", "99"):
        frame = me.page.locator("#frame input[type=number]")
        frame.fill(number)
        frame.press("Enter")
        me.page.wait_for_timeout(500)
    assert not me.page.get_by_text("maximum value").count()
    assert not me.page.get_by_text("preprocess").count()
    least = me.page.locator("#least input[type=number]")
    least.fill("1")
    least.press("Enter")
    me.page.wait_for_function(
        "src => document.querySelector('#picture img').src !== src", arg=src, timeout=WAIT
    )


def test_cancel_keeps_what_is_done_and_need_not_wait_for_others(visit, uploads):
    """You wait for my 1600 points, and cancel; then I do."""
    me, you = visit(), visit()
    for one in (me, you):
        one.open(uploads / "clip.mp4")
        one.page.locator("#side input[type=number]").fill("40")
        one.page.locator("#side input[type=number]").press("Enter")
        one.press("grid", "1600 points wait")
    me.page.locator("#track").click()
    me.page.wait_for_timeout(500)
    you.page.locator("#track").click()
    you.page.get_by_text("waiting for another page's tracks").wait_for(timeout=WAIT)
    you.page.locator("body").press("Escape")
    you.told("stopped before it was its turn")
    me.page.locator("body").press("Escape")
    me.told("Stopped: 1600 points not finished")


def test_two_people_never_meet_and_leave_nothing(visit, uploads, server):
    me, you = visit(), visit()
    me.open(uploads / "clip.mp4")
    me.press("grid", "25 points wait")
    mine = set(server[1].rglob("*.mp4")) | set(server[1].rglob("*.jpg"))
    assert you.press("grid", "there is no video yet")
    assert you.page.locator("#picture img").count() == 0
    you.open(uploads / "clip.mp4")
    yours = set(server[1].rglob("*.mp4")) - mine
    assert mine and yours
    me.context.close()
    until = time.time() + 60
    while any(path.exists() for path in mine) and time.time() < until:
        time.sleep(0.5)
    assert not any(path.exists() for path in mine)
    assert you.press("grid", "25 points wait")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_server_removes_all(browser, uploads, tmp_path, ending):
    process, address = start(tmp_path, "--resolution", "96x128", "--iters", 1)
    me = Visitor(browser, address)
    me.open(uploads / "clip.mp4")
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".mp4"]
    me.press("grid", "25 points wait")
    me.press("track", f"25 points in {FRAMES} frames tracked.")
    me.download("colmap", tmp_path).unlink()  # its library would change what SIGTERM does
    process.send_signal(ending)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and said == "ended; what was uploaded is removed\n"
    assert not list(tmp_path.rglob("*.mp4")) and not list(tmp_path.glob(".cotracker*"))
    me.context.close()
