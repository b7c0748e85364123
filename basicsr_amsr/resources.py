"""Finds option files, weights and demo images that come with the project, from whatever folder one works in."""
from __future__ import annotations

import sysconfig
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def roots() -> list[Path]:
    """Where the project's own files may lie: the checkout, the installed share folder, the package's assets."""
    return [PACKAGE.parent, Path(sysconfig.get_path('data')) / 'share' / 'basicsr_amsr', PACKAGE / 'assets']


def resolve(path: str | Path) -> Path:
    """A path as given where it exists (relative to the current folder), else the project's own file of that name.

    Returns `path` unchanged where there is neither, so that the caller's message names what the user wrote.
    """
    given = Path(path).expanduser()
    if given.exists() or given.is_absolute():
        return given
    return next((root / given for root in roots() if (root / given).exists()), given)
