"""The page as a PDF, without a browser: fpdf2 sets the text and draws the charts as vectors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from footplate.errors import MissingExtraError
from footplate.tracking.charts.chart import Chart
from footplate.tracking.charts.draw import HEIGHT, WIDTH, Anchor, draw
from footplate.tracking.charts.svg import COLOURS, DASHES
from footplate.tracking.report.blocks import Block, Code, Figures, Heading, Items, Table, Text

__all__ = ["render_pdf"]

_MARGIN_MM, _WIDTH_MM = 16.0, 178.0
_FONT_FOLDERS = ("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/dejavu", "/Library/Fonts")
_SPOKEN = str.maketrans(
    {
        "→": "->",
        "←": "<-",
        "↓": "",
        "↑": "",
        "−": "-",
        "–": "-",
        "—": "-",
        "≤": "<=",
        "≥": ">=",
        "…": "...",
        "’": "'",
        "∞": "inf",
    }
    | dict.fromkeys("▁▂▃▄▅▆▇█", "")
)
"""What stands for letters that the fonts within every PDF reader lack."""
_MARKUP = re.compile(r"\*\*([^*\n]+)\*\*|`([^`\n]+)`")
_COURSE = re.compile(r"^[▁▂▃▄▅▆▇█×]+$")
_MAX_LINES = 400
_INK, _SOFT, _GRID = (29, 39, 51), (91, 104, 117), (221, 227, 233)


def render_pdf(blocks: Iterable[Block]) -> bytes:
    """Return the page as a PDF of A4 pages; MissingExtraError without fpdf2."""
    try:
        from fpdf import FPDF
    except ModuleNotFoundError as error:
        raise MissingExtraError("fpdf2", "plots") from error

    class Paper(FPDF):
        def footer(self) -> None:
            self.set_y(-12)
            self.set_font("Helvetica", size=8)
            self.set_text_color(*_SOFT)
            self.cell(0, 6, f"{self.page_no()} / {{nb}}", align="R")

    paper = Paper(format="A4")
    paper.set_margins(_MARGIN_MM, _MARGIN_MM)
    paper.set_auto_page_break(auto=True, margin=16)
    setter = _Setter(paper)
    paper.add_page()
    for block in blocks:
        setter.put(block)
    return bytes(paper.output())


class _Setter:
    """Sets blocks one below the other."""

    def __init__(self, paper: Any) -> None:
        self.paper = paper
        self.text_font, self.code_font = _add_fonts(paper)

    def put(self, block: Block) -> None:
        if isinstance(block, Heading):
            self._put_heading(block)
        elif isinstance(block, Text):
            self._put_text(block.text)
        elif isinstance(block, Items):
            for item in block.items:
                self._put_text(f"• {item}" if self.text_font != "Helvetica" else f"- {item}")
        elif isinstance(block, Table):
            if not block.is_drawn:
                self._put_table(block)
        elif isinstance(block, Code):
            self._put_code(block)
        else:
            self._put_figures(block)

    def say(self, text: str) -> str:
        """Return a text in letters that the font has."""
        plain = _MARKUP.sub(lambda match: match[1] or match[2], str(text))
        if self.text_font != "Helvetica":
            return plain
        return plain.translate(_SPOKEN).encode("latin-1", "replace").decode("latin-1")

    def _put_heading(self, heading: Heading) -> None:
        paper = self.paper
        if paper.get_y() > paper.h - 50:
            paper.add_page()
        paper.ln(4 if heading.level > 1 else 0)
        paper.start_section(self.say(heading.text), level=heading.level - 1)
        paper.set_font(self.text_font, style="B", size=17 if heading.level == 1 else 12.5)
        paper.set_text_color(*_INK)
        paper.multi_cell(0, 8 if heading.level == 1 else 7, self.say(heading.text), new_x="LMARGIN", new_y="NEXT")

    def _put_text(self, text: str) -> None:
        self.paper.set_font(self.text_font, size=9.5)
        self.paper.set_text_color(*_INK)
        self.paper.multi_cell(0, 5, self.say(text), align="L", new_x="LMARGIN", new_y="NEXT")
        self.paper.ln(1)

    def _put_code(self, code: Code) -> None:
        paper = self.paper
        paper.set_font(self.code_font, size=7.5)
        paper.set_text_color(*_INK)
        paper.set_fill_color(246, 248, 250)
        lines = code.text.splitlines()
        text = "\n".join([*lines[:_MAX_LINES], *(["…"] if len(lines) > _MAX_LINES else [])])
        paper.multi_cell(0, 3.8, self.say(text), align="L", fill=True, new_x="LMARGIN", new_y="NEXT")
        paper.ln(2)

    def _put_table(self, table: Table) -> None:
        from fpdf.fonts import FontFace

        kept = [index for index in range(len(table.head)) if not self._is_course(table, index)]
        rows = [[self.say(row[index]) for index in kept] for row in table.rows]
        head = [self.say(table.head[index]) for index in kept]
        lengths = [max([len(head[at]), *(len(row[at]) for row in rows), 3]) for at in range(len(kept))]
        shares = [min(max(length, 8), 44) for length in lengths]
        wide = min(_WIDTH_MM, sum(shares) * 1.9 + 6 * len(kept))
        self.paper.set_font(self.text_font, size=8 if len(kept) < 9 else 6)
        self.paper.set_text_color(*_INK)
        self.paper.set_draw_color(*_GRID)
        self.paper.set_fill_color(255, 255, 255)
        with self.paper.table(
            col_widths=tuple(shares),
            width=wide,
            align="LEFT",
            text_align="LEFT",
            line_height=4.6,
            borders_layout="HORIZONTAL_LINES",
            first_row_as_headings=any(head),
            headings_style=FontFace(emphasis="BOLD", color=_SOFT, fill_color=(255, 255, 255)),
            padding=0.6,
        ) as made:
            for line in [head, *rows] if any(head) else rows:
                row = made.row()
                for cell in line:
                    row.cell(cell)
        self.paper.ln(2)

    def _is_course(self, table: Table, index: int) -> bool:
        """Tell whether a column draws curves in letters: the charts show them better."""
        return bool(table.rows) and all(_COURSE.match(str(row[index])) for row in table.rows)

    def _put_figures(self, figures: Figures) -> None:
        paper, gap = self.paper, 6.0
        width = (_WIDTH_MM - gap) / 2
        height = width * HEIGHT / WIDTH
        for number, chart in enumerate(figures.charts):
            if number % 2 == 0 and paper.get_y() + height > paper.h - 18:
                paper.add_page()
            x = _MARGIN_MM + (number % 2) * (width + gap)
            self._put_chart(chart, x, paper.get_y(), width)
            if number % 2 == 1 or number == len(figures.charts) - 1:
                paper.set_y(paper.get_y() + height + 4)

    def _put_chart(self, chart: Chart, x: float, y: float, width: float) -> None:
        place = self.paper.get_y()
        draw(chart, _PdfCanvas(self, x, y, width / WIDTH))
        self.paper.set_dash_pattern()
        self.paper.set_line_width(0.2)
        self.paper.set_y(place)


class _PdfCanvas:
    """Draws on a part of a page; what is told when somebody points at something is left out on paper."""

    def __init__(self, setter: _Setter, x: float, y: float, scale: float) -> None:
        self._setter, self._paper = setter, setter.paper
        self._x, self._y, self._scale = x, y, scale

    def line(self, points: Sequence[tuple[float, float]], style: str, told: str = "") -> None:  # noqa: ARG002
        dash = DASHES[int(style[1:])] if style[0] == "s" else {"mark": "3 3", "diagonal": "5 4"}.get(style, "")
        lengths = [float(word) * self._scale for word in dash.split()[:2]]
        self._paper.set_dash_pattern(*lengths) if lengths else self._paper.set_dash_pattern()
        self._paper.set_line_width(1.5 * self._scale if style[0] == "s" else 0.8 * self._scale)
        self._paper.set_draw_color(*self._get_colour(style))
        self._paper.polyline([self._place(*point) for point in points])

    def dot(self, x: float, y: float, style: str, told: str = "") -> None:  # noqa: ARG002
        self._paper.set_fill_color(*self._get_colour(style))
        left, top = self._place(x, y)
        self._paper.circle(left, top, 1.6 * self._scale, style="F")

    def box(self, place: tuple[float, float, float, float], style: str, shade: float, told: str = "") -> None:  # noqa: ARG002
        red, green, blue = self._get_colour("s0")
        mixed = [round(255 + (part - 255) * (shade if style == "cell" else 1)) for part in (red, green, blue)]
        self._paper.set_fill_color(*mixed)
        left, top = self._place(place[0], place[1])
        self._paper.rect(left, top, place[2] * self._scale, max(place[3], 0) * self._scale, style="F")

    def text(self, x: float, y: float, words: str, style: str, anchor: Anchor = "start") -> None:
        paper, setter = self._paper, self._setter
        size = (13 if style == "title" else 11) * self._scale * 72 / 25.4
        paper.set_font(setter.text_font, style="B" if style == "title" else "", size=size)
        colour = {"title": _INK, "onDark": (255, 255, 255)}.get(style, _SOFT)
        paper.set_text_color(*colour)
        told = setter.say(words)
        left, top = self._place(x, y)
        left -= {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * paper.get_string_width(told)
        paper.text(left, top, told)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        return self._x + x * self._scale, self._y + y * self._scale

    def _get_colour(self, style: str) -> tuple[int, int, int]:
        if style[0] != "s":
            return {"axis": _SOFT, "grid": _GRID}.get(style, (138, 143, 152))
        text = COLOURS[int(style[1:])][0]
        return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _add_fonts(paper: Any) -> tuple[str, str]:
    """Return the names of the fonts for text and for code: DejaVu where the machine has it, for all letters."""
    for folder in map(Path, _FONT_FOLDERS):
        files = {"": folder / "DejaVuSans.ttf", "B": folder / "DejaVuSans-Bold.ttf"}
        mono = folder / "DejaVuSansMono.ttf"
        if mono.exists() and all(file.exists() for file in files.values()):
            for style, file in files.items():
                paper.add_font("DejaVu", style=style, fname=str(file))
            paper.add_font("DejaVuMono", fname=str(mono))
            return "DejaVu", "DejaVuMono"
    return "Helvetica", "Courier"
