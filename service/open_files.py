"""How many files, and so connections, the process may have open."""

from __future__ import annotations

import resource
from typing import Final

_WANTED: Final = 65_536
"""Each stream takes one or two. What closes all that may be open, one after another, would take long with a million."""


def allow_open_files() -> None:
    """Raise the soft limit towards the hard one: containers begin with 1,024 of 524,288 (containerd 2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
