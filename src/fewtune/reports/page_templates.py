"""Templates of pages and model cards, and the filters that they share."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import jinja2

from fewtune.core.naming import counted
from fewtune.core.percentages import interval_text, percent, signed
from fewtune.core.search_result import search_text
from fewtune.reports.summary import shots_text

FOLDER = Path(__file__).parent / "templates"


def render(template: str, /, **values: Any) -> str:
    """Return a template of the folder, filled in; in HTML all values are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=jinja2.select_autoescape(["html.jinja"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=template.endswith(".md.jinja"),
    )
    environment.filters |= {
        "percent": percent, "signed": signed, "interval": interval_text, "counted": counted,
        "thousands": "{:,}".format, "json": json.dumps, "quote": shlex.quote,
        "search_text": search_text, "plain": _plain, "code_span": _code_span,
    }  # fmt: skip
    environment.globals["shots_text"] = shots_text
    return environment.get_template(template).render(values)


def _plain(text: str) -> str:
    """Return text on one line with the characters that Markdown and HTML would act on escaped."""
    return re.sub(r"([\\`*_\[\]<>|#~$])", r"\\\1", " ".join(text.split()))


def _code_span(text: str) -> str:
    """Return text as a code span of Markdown, also where it holds backquotes."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"
