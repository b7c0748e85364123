"""What there is to do, found without changing anything."""
from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr_amsr.data.prepare import journal
from basicsr_amsr.data.prepare.lmdb_writer import LmdbStore
from basicsr_amsr.data.prepare.settings import HR, Settings
from basicsr_amsr.data.prepare.sources import Source, Sources, count, cut, find
from basicsr_amsr.data.prepare.stores import FolderStore, Store
from basicsr_amsr.data.prepare.work import prepare_pngs
from basicsr_amsr.errors import UserError

SAMPLES = 3  # images that are encoded to foresee the size of the results


@dataclass(frozen=True)
class Plan:
    """Sources, those still to do, journal entries whose source is gone, and what was prepared with other settings."""

    settings: Settings
    sources: Sources
    todo: list[Source]
    gone: list[journal.Entry]
    other: dict[str, Any] | None

    @property
    def images(self) -> int:
        """Number of HR images that are prepared."""
        return len(self.sources.images)

    @property
    def smaller(self) -> list[Source]:
        """Images with a side shorter than the crop: they are kept at their own size."""
        crop = self.settings.crop or 0
        return [source for source in self.sources.images if source.size and min(source.size) < crop]

    def files(self, sources: list[Source]) -> int:
        """Number of results in each folder or LMDB."""
        return sum(max(count(self.settings, source.size), 1) for source in sources)

    def bytes_about(self, sources: list[Source]) -> dict[int, int]:
        """About how many bytes HR (1) and each scale take, from a few images that are encoded now."""
        if not sources:
            return dict.fromkeys(self.settings.sides, 0)
        step = max(len(sources) // SAMPLES, 1)
        rates: dict[int, list[float]] = {side: [] for side in self.settings.sides}
        for source in sources[step // 2::step][:SAMPLES]:
            result = prepare_pngs(source, self.settings)
            if result.entry:
                pixels = self._pixels(source)
                for side, sizes in zip(self.settings.sides, result.entry['bytes'], strict=True):
                    rates[side].append(sum(sizes) / pixels)
        total = sum(self._pixels(source) for source in sources)
        return {side: int(sum(found) / len(found) * total) if found else 0 for side, found in rates.items()}

    def _pixels(self, source: Source) -> int:
        return sum(tile.height * tile.width for tile in cut(self.settings, *source.size)) if source.size else 0


def make_store(settings: Settings) -> Store:
    """Where the results of these settings go."""
    return LmdbStore(settings) if settings.lmdb else FolderStore(settings)


def settings_path(settings: Settings) -> Path:
    """The settings of what was prepared here."""
    return settings.state_folder / 'settings.json'


def journal_path(settings: Settings) -> Path:
    """The journal of what was prepared here."""
    return settings.state_folder / 'journal.jsonl'


def make_plan(settings: Settings, overwrite: bool = False) -> Plan:
    """Find the sources and what is done already.

    Raises:
        UserError: the sources cannot be used; or the target holds something else: other files, or what was prepared
            with other settings and `overwrite` is not set.
    """
    try:
        return _make_plan(settings, overwrite)
    except OSError as error:
        raise UserError(f"Cannot read '{error.filename or settings.out}': {error.strerror or error}.") from error


def _make_plan(settings: Settings, overwrite: bool) -> Plan:
    sources = find(settings)
    before = _settings_before(settings)
    if before is None:
        _check_free(settings)
    elif before != settings.record() and not overwrite:
        key = next(key for key, value in settings.record().items() if before.get(key) != value)
        raise UserError(f"'{settings.targets[HR]}' was prepared with {key} {_shown(before.get(key))}, not "
                        f'{_shown(settings.record()[key])}; give another --out or --name, or --overwrite to replace '
                        'it.')
    other = before if before != settings.record() else None
    entries = {} if other else journal.read(journal_path(settings))
    done = [entry for entry in entries.values() if 'sources' in entry]
    complete = make_store(settings).complete(done) if done else set()
    todo = [source for source in sources.images
            if source.name not in complete or entries[source.name]['sources'] != source.signature()]
    names = {source.name for source in sources.images}
    return Plan(settings, sources, todo, [entry for name, entry in entries.items() if name not in names], other)


def _settings_before(settings: Settings) -> dict[str, Any] | None:
    try:
        return json.loads(settings_path(settings).read_text(encoding='utf-8'))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"'{settings_path(settings)}' is damaged; remove '{settings.state_folder}' and the results "
                        'beside it.') from error


def _check_free(settings: Settings) -> None:
    """Refuse folders that hold something, where no settings say that it was prepared."""
    for target in (*settings.targets.values(), *([] if settings.lmdb else [settings.meta_info_file])):
        if (target.is_dir() and any(os.scandir(target))) or target.is_file():
            raise UserError(f"'{target}' is there already and not from `basicsr prepare`; give another --out or "
                            '--name, or move it away.')


def _shown(value: Any) -> str:
    return ','.join(map(str, value)) if isinstance(value, list) else str(value)


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder that may not exist yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
