"""Self-contained HTML pages, which load no other files."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from importlib import resources
from typing import Final

from scalewise.reporting.markup import escape, section

#: Nothing may be loaded: what a page needs is in it.
POLICY: Final = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "form-action 'none'; base-uri 'none'"
)
#: With a viewer of structures, which works beside the page and makes pictures there.
VIEWER_POLICY: Final = f"{POLICY}; worker-src blob:".replace("data:", "data: blob:")
TYPES: Final = {".svg": "image/svg+xml", ".png": "image/png"}


def page(
    title: str,
    answer: str,
    parts: Mapping[str, tuple[str, str]],
    *,
    script: str = "",
    policy: str = POLICY,
) -> str:
    """Return a page: its title, the answer on top, then sections that the navigation lists.

    Parameters
    ----------
    title
        In plain text.
    answer
        Markup, in a box below the title.
    parts
        Heading and markup of each section by its anchor; empty ones are left out.
    script
        What runs when the page is there.
    policy
        What the page may load.
    """
    shown = {anchor: part for anchor, part in parts.items() if part[1]}
    links = "".join(f'<li><a href="#{a}">{escape(t)}</a></li>' for a, (t, _) in shown.items())
    sections = "\n".join(section(anchor, *part) for anchor, part in shown.items())
    style = resources.files("scalewise.reporting").joinpath("page.css").read_text("utf-8")
    scripts = f"<script>\n{script}</script>\n" if script else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<title>scalewise: {escape(title)}</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<div class="answer">{answer}</div>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{sections}
</main>
{scripts}</body>
</html>
"""


def picture(
    content: bytes, suffix: str, *, stem: str, title: str, alternative: str, caption: str
) -> str:
    """A figure as a data address: nothing in it can clash or load."""
    source = f"data:{TYPES[suffix]};base64,{base64.b64encode(content).decode('ascii')}"
    return (
        f'<figure id="figure-{escape(stem)}">\n<h3>{escape(title)}</h3>\n'
        f'<div class="plot" role="region" tabindex="0" aria-label="{escape(title)}">'
        f'<img alt="{escape(alternative)}" src="{source}"></div>\n'
        f"<figcaption><p>{escape(caption)}</p></figcaption>\n</figure>"
    )
