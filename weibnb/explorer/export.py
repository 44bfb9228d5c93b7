"""Views that leave the explorer: a web page, pictures, a table, and the Vega that draws them."""

from __future__ import annotations

import asyncio
import hashlib
import html
import json
import os
from base64 import b64encode
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from platformdirs import user_cache_path

from weibnb.charts.data_table import numbers_html
from weibnb.explorer.labels import LAST_VIEW, NO_VIEW
from weibnb.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from weibnb.charts.vega import Spec

STATIC = Path(__file__).parent / "static"
_VEGA_LITE = "6.4"
_IDLE = 2.0  # seconds without a change before the picture is drawn
_SCALE = 2  # pixels of a png for each of the chart
# JupyterLab's "Error displaying widget: model not found" below the picture: text and nothing else.
_NO_ERROR = (
    "<style>.jp-OutputArea-child:has(.weibnb-still) ~ .jp-OutputArea-child "
    ".jp-OutputArea-output:not(:has(*)) { display: none; }</style>"
)


@cache
def vega_bundle(name: str) -> str:
    """Join a script of the directory ``static`` and Vega to one module that needs no network.

    It is kept in the user's cache directory, where that can be written: joining takes seconds.
    """
    script = (STATIC / name).read_text(encoding="utf-8")
    import vl_convert

    made_of = f"{version('vl-convert-python')} {_VEGA_LITE} {script}"
    kept_name = f"{hashlib.sha256(made_of.encode()).hexdigest()[:16]}.js"
    kept = user_cache_path("weibnb", appauthor=False) / kept_name
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    text: str = vl_convert.javascript_bundle(script, vl_version=_VEGA_LITE)
    with suppress(OSError):  # a home that cannot be written: join again next time
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_whole(kept, text)
    return text


def web_page(
    title: str, words: str, code: str, held: Mapping[str, Any], charts: Mapping[str, Spec]
) -> str:
    """Write a page that needs no network, with words above, numbers of charts and code below.

    `held` is what `weibnb.explorer.saved_page` gives of what is shown; `charts` are by their names.
    """
    numbers = ((name, numbers_html(spec)) for name, spec in charts.items())
    template = Template((STATIC / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        words=html.escape(words),
        code=html.escape(code),
        numbers="".join(f"<p>{html.escape(name)}</p>{text}" for name, text in numbers if text),
        style=(STATIC / "explorer.css").read_text(encoding="utf-8"),
        saved=json.dumps(held, separators=(",", ":")).replace("<", "\\u003c"),
        script=vega_bundle("page.js").replace("</script", "<\\/script"),
    )


def picture(spec: Spec, form: str) -> bytes:
    """Draw Vega-Lite without a browser: as svg, or as png at twice the size."""
    import vl_convert

    if form == "svg":
        return str(vl_convert.vegalite_to_svg(spec, vl_version=_VEGA_LITE)).encode()
    return bytes(vl_convert.vegalite_to_png(spec, vl_version=_VEGA_LITE, scale=_SCALE))


def last_view_html(specs: Sequence[Spec], mark: str, words: str) -> str:
    """Write the last view as HTML that stays when no kernel runs.

    `mark` is the class by which the live widget hides it.
    """
    images = []
    for spec in specs:
        data = picture(spec, "png")
        width = int.from_bytes(data[16:20], "big") // _SCALE  # of the file's header
        images.append(
            f'<img width="{width}" style="max-width:100%" alt="{html.escape(words)}" '
            f'src="data:image/png;base64,{b64encode(data).decode("ascii")}">'
        )
    return (
        f'<figure class="weibnb-still {mark}">{_NO_ERROR}{"".join(images)}'
        f"<figcaption>{LAST_VIEW if images else NO_VIEW}</figcaption></figure>"
    )


class LastView:
    """A picture of the last view, in an output that outlives the kernel.

    It is drawn when nothing changes any more; at once where a program runs the notebook.
    `draw` gives Vega-Lite of each chart, and words for them.
    """

    def __init__(self, mark: str, draw: Callable[[], tuple[list[Spec], str]]) -> None:
        self._mark, self._draw = mark, draw
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shown = False

    def show(self) -> None:
        """Make room for the picture in the output of the running cell, if there is one."""
        from IPython import get_ipython
        from IPython.display import HTML, display

        shell = get_ipython()
        if shell is None:
            return
        # nbclient takes no change of an output after its cell has ended
        specs, words = self._draw() if runs_unattended(shell) else ([], "")
        display(HTML(last_view_html(specs, self._mark, words)), display_id=self._mark)
        self._shown = True
        with suppress(RuntimeError):  # no loop, no later
            self._loop = asyncio.get_running_loop()
        self.changed()

    def changed(self) -> None:
        """Draw the picture as soon as nothing has changed for two seconds; from any thread."""
        if self._shown and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._later)

    def _later(self) -> None:
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_IDLE, self._update)

    def _update(self) -> None:
        from IPython.display import HTML, update_display

        specs, words = self._draw()
        if specs:
            update_display(HTML(last_view_html(specs, self._mark, words)), display_id=self._mark)


def runs_unattended(shell: Any) -> bool:
    """Tell whether a program runs the cell and keeps its outputs, as nbconvert does.

    Nobody can answer `input` then. Voilà keeps no outputs: its page lives with the kernel.
    """
    if "VOILA_APP_PORT" in os.environ:
        return False
    parent_of = getattr(getattr(shell, "kernel", None), "get_parent", None)
    request = (parent_of("shell") if parent_of else None) or {}
    return request.get("content", {}).get("allow_stdin") is False
