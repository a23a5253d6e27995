"""The table of shipped families is that of their files."""

from __future__ import annotations

from pathlib import Path

from bloomery.core.resources import families_dir
from bloomery.families.describe import in_order
from bloomery.families.registry import read_family
from bloomery.families.schema import FamilyFile

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stages.md"
BEGIN, END = "<!-- families: checked by tests/docs/test_families.py -->", "<!-- end -->"


def stages(file: FamilyFile) -> str:
    """`pretrained` hot, `midtrained` cold."""
    return ", ".join(f"`{n}`" if c.empty else f"`{n}` {c.heat()}" for n, c in file.checkpoints.items())


def table() -> str:
    """A row for the sizes of a series that have the same stages, data and licence."""
    paths = [*families_dir().glob("*.yaml"), *families_dir().glob("*/family.yaml")]
    rows: dict[tuple[str, ...], list[str]] = {}
    for family in in_order(map(read_family, paths)):
        file = family.file
        series = file.name.rpartition("-")[0]
        licence = file.licence.replace(" 3.1 ", " ").replace(" 3.2 ", " ") + (", gated" if file.gated else "")
        key = (series or file.name, stages(file), file.data, licence)
        rows.setdefault(key, []).append(file.name.removeprefix(series))
    lines = ["| Family | Start points | Data | Licence |", "|---|---|---|---|"]
    for (series, start, data, licence), names in rows.items():
        sizes = ", ".join(name.removeprefix("-") for name in names)
        name = f"`{series}`" if names == [series] else f"`{series}-` {sizes}"
        lines.append(f"| {name} | {start} | {data} | {licence} |")
    return "\n".join(lines)


def test_the_table_of_families_is_that_of_their_files() -> None:
    page = PAGE.read_text()
    shown = page.split(BEGIN)[1].split(END)[0].strip()
    assert shown == table(), f"put this into {PAGE.name}:\n{table()}"
