"""Inline SVG for pages: drawings must not share ids, and none may break the page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup, escape

from fewtune.reports.figures import ALONE

# Narrower than this a drawing is not made: it scrolls.
LEAST_WIDTH = "34rem"

_ID = re.compile(r'\sid="([^"]*)"')
_WIDTH = re.compile(r'\swidth="([\d.]+(?:pt|px))"')
_USE = re.compile(r'(href="#|url\(#)([^")]*)')


def inline_svg(text: str, name: str, words: str) -> Markup | None:
    """Return a drawing as an element of a page, or None if it is not an SVG.

    Args:
        text: An SVG element, or a file with one.
        name: Stands before the ids of the drawing, which others may have too.
        words: What it shows, for readers who do not see it.
    """
    start = text.find("<svg")
    if start < 0:
        return None
    drawn = text[start:].replace(ALONE, "").strip()
    try:
        root = ElementTree.fromstring(drawn)
    except ElementTree.ParseError:
        return None
    if not root.tag.endswith("}svg"):
        return None
    used = {found.group(2) for found in _USE.finditer(drawn)}
    drawn = _ID.sub(lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", drawn)
    drawn = _USE.sub(lambda m: f"{m[1]}{name}-{m[2]}", drawn)
    head, _, rest = drawn.partition(">")
    head = re.sub(r'\s(role|class|aria-label|style)="[^"]*"', "", head)
    width = _WIDTH.search(head)
    least = f"min({LEAST_WIDTH}, {width[1]})" if width else LEAST_WIDTH
    shown = f'role="img" aria-label="{escape(words)}" style="min-width: {least}"'
    return Markup(f"{head} {shown}>{rest}")
