"""Where the command line keeps things that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Folder for prepared frames: LEUKOSCOPE_CACHE, or `leukoscope` in the user's cache folder."""
    named = os.environ.get("LEUKOSCOPE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leukoscope"
