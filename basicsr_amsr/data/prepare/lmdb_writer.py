"""LMDBs in BasicSR's layout: data.mdb, lock.mdb and meta_info.txt; keys are names without suffix, values PNG files."""
from __future__ import annotations

import os
import shutil
import time

import lmdb

from basicsr_amsr.data.prepare import subimages
from basicsr_amsr.data.prepare.journal import Entry
from basicsr_amsr.data.prepare.settings import Settings
from basicsr_amsr.data.prepare.stores import meta_info, write_if_changed
from basicsr_amsr.data.prepare.work import Result
from basicsr_amsr.errors import UserError
from basicsr_amsr.files import remove_parts

FIRST_MAP = 2**28  # bytes; doubled whenever it is full
BATCH_BYTES = 2**26  # what is held in memory until it is committed
BATCH_SECONDS = 5.0
DOOMED = '.old'


class LmdbStore:
    """One LMDB each for HR and the scales, written in the state folder and moved to their place when complete."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.finals = settings.targets
        self.parts = {side: settings.state_folder / path.name for side, path in settings.targets.items()}
        self._envs: dict[int, lmdb.Environment] = {}
        self._pending: list[Result] = []
        self._bytes, self._since = 0, time.monotonic()

    def complete(self, entries: list[Entry]) -> set[str]:
        """See Store."""
        found = {entry['name'] for entry in entries}
        for index, side in enumerate(self.settings.sides):
            folder = next((path for path in (self.parts[side], self.finals[side]) if (path / 'data.mdb').is_file()),
                          None)
            if folder is None:
                return set()
            try:
                env = lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
            except lmdb.Error as error:
                raise UserError(f"'{folder}' is damaged ({str(error).removeprefix(f'{folder}: ')}); remove it and run "
                                'the same command again.') from error
            try:
                with env.begin(buffers=True) as txn:
                    found -= {entry['name'] for entry in entries if any(
                        len(txn.get(key.encode(), b'')) != size for key, size in zip(
                            subimages.names(entry['name'], entry['count']), entry['bytes'][index], strict=True))}
            finally:
                env.close()
        return found

    def clean(self) -> None:
        """See Store."""
        for folder in (*self.parts.values(), *self.finals.values()):
            remove_parts(folder)

    def open(self) -> None:
        """See Store."""
        for side, part in self.parts.items():
            if self.finals[side].exists() and not part.exists():
                os.rename(self.finals[side], part)
            part.mkdir(parents=True, exist_ok=True)

    def _env(self, side: int) -> lmdb.Environment:
        """Opened at first use: an LMDB must not be open when processes are forked."""
        if side not in self._envs:
            data = self.parts[side] / 'data.mdb'
            size = max(FIRST_MAP, 2 * data.stat().st_size if data.exists() else 0)
            self._envs[side] = lmdb.open(str(self.parts[side]), map_size=size)
        return self._envs[side]

    def remove(self, name: str, first: int, last: int) -> None:
        """See Store."""
        for side in self.settings.sides:
            self._write(side, dict.fromkeys(subimages.names(name, last)[first - 1:]))

    def add(self, result: Result) -> None:
        """See Store."""
        self._pending.append(result)
        self._bytes += sum(len(png) for pngs in result.pngs for png in pngs)

    def full(self) -> bool:
        """See Store."""
        return self._bytes >= BATCH_BYTES or time.monotonic() - self._since >= BATCH_SECONDS

    def commit(self) -> None:
        """See Store."""
        for index, side in enumerate(self.settings.sides):
            self._write(side, {key: png for result in self._pending if result.entry for key, png in zip(
                subimages.names(result.name, result.entry['count']), result.pngs[index], strict=True)})
        self._pending.clear()
        self._bytes, self._since = 0, time.monotonic()

    def _write(self, side: int, values: dict[str, bytes | None]) -> None:
        """Put values, or delete those that are None, in one transaction."""
        while values:
            try:
                env = self._env(side)
                with env.begin(write=True) as txn:
                    for key, value in values.items():
                        if value is None:
                            txn.delete(key.encode())
                        else:
                            txn.put(key.encode(), value)
                return
            except lmdb.MapFullError:
                env.set_mapsize(2 * env.info()['map_size'])
            except lmdb.Error as error:
                raise UserError(f"Cannot write '{self.parts[side]}': {error}. What is done is kept; mend that and run "
                                'the same command again.') from error

    def finish(self, entries: list[Entry]) -> None:
        """See Store."""
        self.close()
        for side, part in self.parts.items():
            folder = part if part.exists() else self.finals[side]
            lines = [f'{line} {self.settings.png_level}' for line in meta_info(self.settings, entries, side)]
            write_if_changed(folder / 'meta_info.txt', lines)
        for side, part in self.parts.items():
            if part.exists():
                self.finals[side].parent.mkdir(parents=True, exist_ok=True)
                os.rename(part, self.finals[side])

    def clear(self, entries: list[Entry]) -> None:
        """See Store."""
        self.close()
        # First out of sight as a whole, then removed file by file.
        for folder in (*self.finals.values(), *self.parts.values()):
            if folder.exists():
                os.rename(folder, self.settings.state_folder / f'{folder.name}.{time.time_ns()}{DOOMED}')
        for doomed in self.settings.state_folder.glob(f'*{DOOMED}'):
            shutil.rmtree(doomed)

    def close(self) -> None:
        """See Store."""
        for env in self._envs.values():
            env.close()
        self._envs.clear()
