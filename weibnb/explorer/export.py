"""Views that leave the explorer: a web page, pictures, a table, and the Vega that draws them."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_VEGA_LITE = "6.4"
_IDLE = 2.0  # seconds without a change before the picture is drawn
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
  background: Canvas; color: CanvasText; }}
figure {{ margin: 0 0 2rem; overflow-x: auto; }}
pre {{ overflow-x: auto; padding: .75rem; border: 1px solid #8886; }}
</style></head><body>
<h1>{title}</h1><p>{words}</p>
{figures}
<h2>The same in Python</h2><pre>{code}</pre>
<script type="application/json" id="specs">{specs}</script>
<script type="module">{script}</script>
</body></html>
"""
_DRAW = """
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
const specs = JSON.parse(document.getElementById("specs").textContent);
specs.forEach((spec, i) => vegaEmbed(document.getElementById("chart" + i), spec, {
  renderer: "svg", actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { theme: dark ? "dark" : "light" } }));
"""


def vega_bundle(script: str) -> str:
    """Join a script and the Vega that it needs to one module that needs no network.

    Parameters
    ----------
    script : str
        JavaScript; it may use ``vegaEmbed``.

    Returns
    -------
    str
        The module, some 0.9 MB. It is kept in the user's cache directory, where that can be
        written, because joining takes a second or two.
    """
    return _bundle(script)


@cache
def _bundle(script: str) -> str:
    import vl_convert

    made_of = f"{version('vl-convert-python')} {_VEGA_LITE} {script}"
    name = f"{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.js"
    kept = user_cache_path("weibnb", appauthor=False) / name
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    text: str = vl_convert.javascript_bundle(script, vl_version=_VEGA_LITE)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=kept.parent, delete=False
        ) as file:
            file.write(text)
        Path(file.name).replace(kept)
    except OSError:
        return text  # a home that cannot be written: join again next time
    return text


def page(title: str, words: str, code: str, specs: Sequence[Mapping[str, Any]]) -> str:
    """Write charts as a web page that needs no network.

    Parameters
    ----------
    title, words, code : str
        What stands above and below.
    specs : sequence of Mapping
        Vega-Lite.

    Returns
    -------
    str
        HTML.
    """
    figures = "".join(f'<figure><div id="chart{i}"></div></figure>' for i in range(len(specs)))
    return _PAGE.format(
        title=html.escape(title),
        words=html.escape(words),
        code=html.escape(code),
        figures=figures,
        specs=json.dumps(list(specs)).replace("<", "\\u003c"),
        script=vega_bundle(_DRAW).replace("</script", "<\\/script"),
    )


def picture(spec: Mapping[str, Any], form: str) -> bytes:
    """Draw Vega-Lite without a browser.

    Parameters
    ----------
    spec : Mapping
        Vega-Lite.
    form : {"svg", "png"}
        PNG is drawn on white, at twice the size.

    Returns
    -------
    bytes
        The file.
    """
    import vl_convert

    if form == "svg":
        return str(vl_convert.vegalite_to_svg(dict(spec), vl_version=_VEGA_LITE)).encode()
    white = {**spec, "background": "white"}
    return bytes(vl_convert.vegalite_to_png(white, vl_version=_VEGA_LITE, scale=2))


def still(spec: Mapping[str, Any] | None, mark: str, words: str) -> str:
    """Write the last view as HTML that stays when no kernel runs.

    Parameters
    ----------
    spec : Mapping or None
        Vega-Lite of the view.
    mark : str
        Class by which the live widget hides it.
    words : str
        What the picture shows.

    Returns
    -------
    str
        HTML.
    """
    from base64 import b64encode

    said = "The last view, as a picture: run this cell for the live explorer."
    image = ""
    if spec is not None:
        data = picture(spec, "png")
        width = int.from_bytes(data[16:20], "big") // 2  # of the header; drawn at twice the size
        drawn = b64encode(data).decode("ascii")
        image = (
            f'<img width="{width}" style="max-width:100%" alt="{html.escape(words)}" '
            f'src="data:image/png;base64,{drawn}">'
        )
    return f'<figure class="weibnb-still {mark}">{image}<figcaption>{said}</figcaption></figure>'


class LastView:
    """A picture of the last view, in an output that outlives the kernel.

    Parameters
    ----------
    mark : str
        Class of the picture, by which the live widget hides it.
    draw : callable
        Gives Vega-Lite, or None, and words for it.
    """

    def __init__(self, mark: str, draw: Callable[[], tuple[Mapping[str, Any] | None, str]]) -> None:
        self._mark, self._draw = mark, draw
        self._timer: asyncio.TimerHandle | None = None
        self._shown = False

    def show(self) -> None:
        """Make room for the picture in the output of the running cell, if there is one."""
        from IPython import get_ipython
        from IPython.display import HTML, display

        if get_ipython() is None:
            return
        display(HTML(still(None, self._mark, "")), display_id=self._mark)
        self._shown = True
        self.changed()

    def changed(self) -> None:
        """Draw the picture as soon as nothing has changed for two seconds."""
        if not self._shown:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(_IDLE, self._update)

    def _update(self) -> None:
        from IPython.display import HTML, update_display

        spec, words = self._draw()
        if spec is not None:
            update_display(HTML(still(spec, self._mark, words)), display_id=self._mark)
