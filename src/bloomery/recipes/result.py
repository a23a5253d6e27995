"""How a run ended, for the command line, for Python and for notebooks."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. `status` is done, within, broken, unproven or interrupted; `said` its headline.

    `figures` are the report's headline numbers, as `list_runs` has them; {} where nothing was measured.
    """

    name: str
    folder: Path
    status: str
    exit_status: int
    said: str = ""
    figures: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"name": self.name, "folder": str(self.folder), "status": self.status, "figures": self.figures}

    def _repr_html_(self) -> str:
        """The headline, and the report's own page in a frame."""
        page = self.folder / "report.html"
        head = f"<p><b>{html.escape(self.said)}</b></p>"
        if not page.is_file():
            return head
        return f'{head}<iframe srcdoc="{html.escape(page.read_text())}" width="100%" height="640"></iframe>'

    def __str__(self) -> str:
        report = self.folder / "report.html"
        tail = f"\nreport: {report}" if report.is_file() else ""
        return f"{self.said or f'run {self.name}: {self.status}'}{tail}"
