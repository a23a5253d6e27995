"""A report as files: figures for programs, tables for people, and one self-contained page."""

from __future__ import annotations

from pathlib import Path

from bloomery.core.files import write_json, write_text
from bloomery.evals.figures import to_json
from bloomery.evals.markdown import to_markdown
from bloomery.evals.page import to_html
from bloomery.evals.report import Report


def write_report(report: Report, folder: Path) -> None:
    """Write `report.json`, `report.md` and `report.html`.

    The first two hold figures only. The page also shows examples, which are users' rows, so it is
    readable by the owner only.
    """
    write_json(folder / "report.json", to_json(report))
    write_text(folder / "report.md", to_markdown(report))
    write_text(folder / "report.html", to_html(report), mode=0o600)
