"""Writes the dashboards: `python -m deploy.observability.generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from deploy.observability.drawing import drawn
from deploy.observability.overview import OVERVIEW
from deploy.observability.targets import TARGETS

FOLDER: Final = Path(__file__).parent / "dashboards"


def files() -> dict[Path, str]:
    """What each file should hold."""
    return {
        FOLDER / f"{dashboard.uid}.json": json.dumps(drawn(dashboard), indent=1, ensure_ascii=False) + "\n"
        for dashboard in (OVERVIEW, TARGETS)
    }


if __name__ == "__main__":
    for file, text in files().items():
        file.write_text(text)
