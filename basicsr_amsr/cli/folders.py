"""New result folders that give way to the old ones when a start fails."""
from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from filelock import FileLock, Timeout

from basicsr_amsr.errors import UserError

LOCK = '.lock'  # in the folder; the system opens it again when its process dies, however that comes


class FreshFolders:
    """Makes empty folders, as BasicSR does at every start: what is there already is renamed `…_archived_<time>`.

    A start that fails (a wrong name in the options, a missing file) must not push an earlier experiment aside, so
    `undo` takes the new folders away and gives the old ones their names back.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Path, Path | None]] = []
        self._locks: dict[Path, FileLock] = {}

    def claim(self, path: str | os.PathLike[str]) -> None:
        """Keep other runs out of a folder, if it is there.

        Raises:
            UserError: another run works in it.
        """
        folder = Path(path)
        if not folder.is_dir() or folder in self._locks:
            return
        lock = FileLock(folder / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f'another run of this name is at work in {folder}: wait for it, or give this one another '
                            'name, --force_yml name=NAME.') from None
        self._locks[folder] = lock

    def release(self, path: str | os.PathLike[str]) -> None:
        """Let others into a folder."""
        lock = self._locks.pop(Path(path), None)
        if lock is not None:
            lock.release()
            Path(lock.lock_file).unlink(missing_ok=True)

    def make(self, path: str | os.PathLike[str]) -> None:
        """An empty folder at `path`; stands in for `basicsr.utils.misc.mkdir_and_rename`.

        Raises:
            UserError: another run works in the one that is there.
        """
        folder = Path(path)
        archive = None
        if folder.exists():
            self.claim(folder)
            self.release(folder)
            archive = self._free_name(folder)
            folder.rename(archive)
            print(f'{folder} exists already: renamed to {archive.name}', flush=True)
        self._made.append((folder, archive))
        folder.mkdir(parents=True)
        self.claim(folder)

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
            self.release(folder)
            shutil.rmtree(folder, ignore_errors=True)
            if archive is not None:
                archive.rename(folder)

    def keep(self) -> None:
        """The start succeeded: from here on nothing is undone."""
        self._made.clear()

    def leave(self) -> None:
        """The run has ended."""
        for folder in list(self._locks):
            self.release(folder)
