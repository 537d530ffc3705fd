"""Which version this is; the same as in `pyproject.toml`, which is not there where the service is installed."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
