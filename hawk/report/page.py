"""The page: one HTML file that opens offline from disk and asks the network for nothing.

All styles, scripts and pictures are inside; a content security policy forbids anything else. Every
string that comes from a file is escaped.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parent / "assets"
SCROLL = '<div class="scroll" tabindex="0" role="group" aria-label="table">'  # wider than a narrow page
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page(name: str, sections: Sequence[tuple[str, str, str]], data: Mapping[str, Any]) -> str:
    """The whole document. ``data`` is what the script draws from."""
    style = (ASSETS / "report.css").read_text(encoding="utf-8")
    script = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in ("report.js", "explorer.js"))
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in sections)
    body = "".join(
        f'<section id="{key}"><h2>{escape(title)}</h2>{text}</section>' for key, title, text in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: head importance and pruning</title><style>{style}</style></head>"
        f"<body><main><header><h1>{escape(name)}: head importance and pruning</h1><nav>{links}</nav></header>"
        f'{body}</main><div id="tip" role="tooltip"></div>'
        f'<script type="application/json" id="head-data">{script_json(data)}</script>'
        f"<script>{script}</script></body></html>\n"
    )


# --- small parts ------------------------------------------------------------------------------------


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def script_json(value: Any) -> str:
    """JSON that cannot end its script element, whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> str:
    def cells(row: Sequence[Any], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=left' if i < left else ''}>{escape(cell)}</{tag}>" for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"{SCROLL}<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table></div>"
