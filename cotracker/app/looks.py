"""What the page looks like and which keys it has: text for the browser."""

import html
from collections.abc import Callable

SCRIPT = """<script>
const LARGEST = %d;
for (const kind of ["change", "drop"]) document.addEventListener(kind, event => {
  const files = (event.dataTransfer ?? event.target).files ?? [];
  window.refused = [...files].find(file => file.size > LARGEST);
  if (!window.refused) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  if (kind === "change") event.target.value = "";
  document.getElementById("refused").click();
}, true);
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input:not([type=range]), textarea, select")) return;
  const press = id => { document.getElementById(id)?.click(); event.preventDefault(); };
  const slider = document.querySelector("#frame input[type=range]");
  const step = by => {
    slider.value = Number(slider.value) + by;
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    event.preventDefault();
  };
  if (event.target !== slider && event.key === "ArrowRight") step(1);
  if (event.target !== slider && event.key === "ArrowLeft") step(-1);
  if (event.key === "t") press("track");
  if (event.key === "u") press("undo");
  if (event.key === "o") press("play");
  if (event.key === "Escape") press("cancel");
});
</script>"""
TOO_LARGE = """() => {
  const line = document.createElement("p"), most = (LARGEST / 1e6).toLocaleString("en");
  line.textContent = `${window.refused.name} is larger than ${most} MB, the most that this page ` +
    "takes: start it with --max-upload SIZE";
  line.className = "wrong";
  line.setAttribute("role", "status");
  line.setAttribute("aria-live", "polite");
  return line.outerHTML;
}"""
HELP = "Keys: ← → frames, t track, Esc cancel, u undo, o overlay; Tab goes through the page."
CSS = """
#status p {margin: 0; font-size: 1.1em}
#status .wrong {color: #c00}
footer {display: none}
"""
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}


def script(largest: int) -> str:
    """The page's own script: its keys, and a sentence for files of more than `largest` bytes."""
    return SCRIPT % largest


def status_html(sentence: str, wrong: bool = False) -> str:
    """The status line, which a screen reader reads out; red where something is wrong."""
    kind = "wrong" if wrong else "told"
    return f'<p role="status" aria-live="polite" class="{kind}">{html.escape(sentence)}</p>'


def tell_progress(progress: Callable) -> Callable[[int, int], None]:
    """What tells gradio's progress the frames done and all of them; zeros while it waits."""

    def tell(done: int, total: int) -> None:
        if total:
            progress((done, total), unit="frames")
        else:
            progress(0, "waiting for another page's tracks")

    return tell
