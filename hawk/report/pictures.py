"""The pictures of a run inside the page."""

from __future__ import annotations

import base64
from pathlib import Path

from hawk.core.errors import InputError
from hawk.report import figures
from hawk.report.page import escape
from hawk.report.run import Run

STILL = 400_000  # bytes of a picture that only a page without its script shows; a larger one is named
KINDS = {"png": "image/png", "svg": "image/svg+xml"}


def section_pictures(run: Run, section: str) -> str:
    """All pictures of a section, as data URIs. One that the run's tables call for must be there.

    A picture that another step draws, with the model, is left out until that step has run. One for pages
    without their script is only named where it would make the page large for everybody.
    """
    text, still = "", ""
    for picture in figures.pictures(run.holds, run.ablations, section):
        figure = picture.figure
        if not figure.on_page:
            continue
        path = Path(run.paths.figure(picture.name, figure.ending))
        if not path.is_file():
            if figure.step != "make_figures":
                continue
            raise InputError(
                f"{path}: there is no such picture; draw it with `hawk make-figures`, "
                "given the same --config and --run-dir."
            )
        if figure.without_script and path.stat().st_size > STILL:
            name = escape(path.name)
            still += f"<p>Too large for this page: figures/{name} in the run's folder.</p>"
            continue
        code = base64.b64encode(path.read_bytes()).decode("ascii")
        note = f"<figcaption>{escape(figure.caption)}</figcaption>" if figure.caption else ""
        source = f"data:{KINDS[figure.ending]};base64,{code}"
        shown = f'<figure><img class="drawing" alt="{escape(picture.alt)}" src="{source}">{note}</figure>'
        if figure.without_script:
            still += shown
        else:
            text += shown
    if text.count("<figure>") > 1:
        text = f'<div class="pictures">{text}</div>'
    return text + (f"<noscript>{still}</noscript>" if still else "")
