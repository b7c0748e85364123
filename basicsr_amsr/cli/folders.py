"""New result folders that give way to the old ones when a start fails."""
from __future__ import annotations

import os
import shutil
import time
from pathlib import Path


class FreshFolders:
    """Makes empty folders, as BasicSR does at every start: what is there already is renamed `…_archived_<time>`.

    A start that fails (a wrong name in the options, a missing file) must not push an earlier experiment aside, so
    `undo` takes the new folders away and gives the old ones their names back.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Path, Path | None]] = []

    def make(self, path: str | os.PathLike[str]) -> None:
        """An empty folder at `path`; stands in for `basicsr.utils.misc.mkdir_and_rename`."""
        folder = Path(path)
        archive = None
        if folder.exists():
            archive = self._free_name(folder)
            folder.rename(archive)
            print(f'{folder} exists already: renamed to {archive.name}', flush=True)
        self._made.append((folder, archive))
        folder.mkdir(parents=True)

    @staticmethod
    def _free_name(folder: Path) -> Path:
        stamp = time.strftime('%Y%m%d_%H%M%S')
        number = 1
        archive = folder.with_name(f'{folder.name}_archived_{stamp}')
        while archive.exists():
            number += 1
            archive = folder.with_name(f'{folder.name}_archived_{stamp}_{number}')
        return archive

    def undo(self) -> None:
        """Remove the folders that were made, and rename the earlier ones back."""
        while self._made:
            folder, archive = self._made.pop()
            shutil.rmtree(folder, ignore_errors=True)
            if archive is not None:
                archive.rename(folder)

    def keep(self) -> None:
        """The start succeeded: from here on nothing is undone."""
        self._made.clear()
