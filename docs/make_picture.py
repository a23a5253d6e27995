"""Draws docs/report.png, the top of a run's report: `python docs/make_picture.py runs/NAME`. Needs chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURE = Path(__file__).with_name("report.png")
WIDTH, HEIGHT = 1000, 1180
LARGEST = 200_000


def draw(page: Path, picture: Path) -> None:
    """A screenshot of the top of the page in light colours. Raises `SystemExit` without chromium, or when too large."""
    browser = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if browser is None:
        raise SystemExit("chromium is not installed")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb"]
        place = [f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={picture.resolve()}"]
        subprocess.run(
            [browser, *options, *place, page.resolve().as_uri()], check=True, capture_output=True, timeout=120
        )
    if picture.stat().st_size > LARGEST:
        raise SystemExit(f"{picture} has {picture.stat().st_size:,} bytes, more than {LARGEST:,}: lower HEIGHT")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) / "report.html", PICTURE)
