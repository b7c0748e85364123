"""Where files go that can be made again: measured costs, kernels that are built on first use,
calibrations that are fitted on the way."""
from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """The user's folder for them, which need not be there yet: ~/.cache/basicsr_amsr on Linux, or in XDG_CACHE_HOME."""
    return user_cache_path('basicsr_amsr', appauthor=False)
