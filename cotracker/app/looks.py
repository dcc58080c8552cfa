"""What the page looks like and which keys it has: text for the browser."""

import html

KEYS = """<script>
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
HELP = "Keys: ← → frames, t track, Esc cancel, u undo, o overlay; Tab goes through the page."
CSS = """
#status p {margin: 0; font-size: 1.1em}
#status .wrong {color: #c00}
footer {display: none}
"""
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}


def status_html(sentence: str, wrong: bool = False) -> str:
    """The status line, which a screen reader reads out; red where something is wrong."""
    kind = "wrong" if wrong else "told"
    return f'<p role="status" aria-live="polite" class="{kind}">{html.escape(sentence)}</p>'
