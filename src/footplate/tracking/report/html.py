"""The page as one HTML file that needs nothing else: no script, no request, light or dark as the reader has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from footplate.profile.metrics import get_rank
from footplate.tracking.charts.svg import STYLE, render_svg
from footplate.tracking.report.blocks import Block, Code, Figures, Heading, Items, Table, Text
from footplate.tracking.report.seen import Seen
from footplate.tracking.report.values import format_value, show_clock

__all__ = ["render_html", "render_page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_INLINE = re.compile(r"\*\*(?P<bold>[^*\n]+)\*\*|`(?P<code>[^`\n]+)`")
_MAX_CARDS = 6
_MAX_CODE = 100_000
"""Characters of one listing: a page stays small whatever a command or a profile holds."""


def render_html(seen: Seen, blocks: Iterable[Block]) -> str:
    """Return the page about a run."""
    found = list(blocks)
    head, rest = found[0], found[1:]
    title = head.text if isinstance(head, Heading) else seen.run.id
    state = escape(str(seen.status.state))
    top = f'<h1>{escape(title)} <span class="state {state}">{state}</span></h1>{_render_cards(seen.result)}'
    return render_page(title, rest, top=top, foot=f"Written at {show_clock(seen.read_at)} UTC by Footplate.")


def render_page(title: str, blocks: Iterable[Block], *, top: str = "", foot: str = "") -> str:
    """Return a page of blocks with a list of its sections; ``top`` is HTML, ``foot`` is text."""
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    body, links = [], []
    for number, block in enumerate(blocks):
        if isinstance(block, Heading) and block.level == 2:
            links.append(f'<a href="#s{number}">{escape(block.text)}</a>')
            body.append(f'<h2 id="s{number}">{escape(block.text)}</h2>')
        else:
            body.append(_render(block))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}\n{style}</style></head>\n"
        f'<body><div class="page"><nav aria-label="Sections">{"".join(links)}</nav>\n<main>{top}\n'
        + "\n".join(body)
        + f"\n<footer>{escape(foot)}</footer></main></div></body></html>\n"
    )


def _render_cards(result: Mapping[str, Any]) -> str:
    """Return the few numbers that say most: of the test set where there is one."""
    metrics = {name: value for name, value in (result.get("metrics") or {}).items() if isinstance(value, int | float)}
    for front in ("test/", "val/", ""):
        chosen = sorted((name for name in metrics if name.startswith(front)), key=get_rank)[:_MAX_CARDS]
        if chosen:
            cards = "".join(
                f'<div class="card"><b>{escape(format_value(metrics[name]))}</b><span>{escape(name)}</span></div>'
                for name in chosen
            )
            return f'<div class="cards">{cards}</div>'
    return ""


def _render(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{'<br>'.join(_render_inline(line) for line in block.text.splitlines())}</p>"
    if isinstance(block, Items):
        return f"<ul>{''.join(f'<li>{_render_inline(item)}</li>' for item in block.items)}</ul>"
    if isinstance(block, Table):
        return "" if block.is_drawn else _render_table(block)
    if isinstance(block, Code):
        return _render_code(block)
    return _render_figures(block)


def _render_inline(text: str) -> str:
    """Return a text with its bold words and code; everything else means nothing."""

    def replace(match: re.Match[str]) -> str:
        return f"<b>{match['bold']}</b>" if match["bold"] else f"<code>{match['code']}</code>"

    return _INLINE.sub(replace, escape(str(text), quote=False))


def _render_table(table: Table) -> str:
    head = "".join(f"<th>{_render_inline(cell)}</th>" for cell in table.head) if any(table.head) else ""
    rows = "".join(f"<tr>{''.join(f'<td>{_render_inline(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    top = f"<thead><tr>{head}</tr></thead>" if head else ""
    return f'<div class="scroll"><table>{top}<tbody>{rows}</tbody></table></div>'


def _render_code(code: Code) -> str:
    text = code.text if len(code.text) <= _MAX_CODE else f"{code.text[:_MAX_CODE]}\n…"
    lines = [
        f'<span class="marked">{escape(line)}</span>' if code.language == "yaml" and "  # ← " in line else escape(line)
        for line in text.splitlines()
    ]
    return f"<pre><code>{chr(10).join(lines)}</code></pre>"


def _render_figures(figures: Figures) -> str:
    return f'<div class="figures">{"".join(f"<figure>{render_svg(chart)}</figure>" for chart in figures.charts)}</div>'
