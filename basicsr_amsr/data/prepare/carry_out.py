"""Carries out a plan: workers, journal, results; may be killed at any moment and called again."""
from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial

from filelock import FileLock, Timeout

from basicsr_amsr.data.prepare.journal import Entry, Journal, read
from basicsr_amsr.data.prepare.pool import each
from basicsr_amsr.data.prepare.settings import HR, Settings
from basicsr_amsr.data.prepare.sources import count
from basicsr_amsr.data.prepare.stores import Store
from basicsr_amsr.data.prepare.work import Result, prepare
from basicsr_amsr.data.prepare.work_plan import Plan, journal_path, make_plan, make_store, settings_path
from basicsr_amsr.errors import UserError
from basicsr_amsr.files import remove_parts, write_whole

LOCK_SECONDS = 5  # the workers of a run that was killed need a moment to notice

Advance = Callable[[], None]
Watch = Callable[[Plan], AbstractContextManager[Advance]]


@dataclass
class Report:
    """What a run did. Pixels are those of the cropped HR images."""

    images: int
    prepared: int
    seconds: float
    pixels: int
    left_out: int
    removed: int
    entries: list[Entry] = field(repr=False)

    def bytes(self, settings: Settings) -> dict[int, int]:
        """Bytes of the PNGs of HR (1) and of each scale."""
        return {side: sum(sum(entry['bytes'][index]) for entry in self.entries)
                for index, side in enumerate(settings.sides)}

    def files(self) -> int:
        """Number of images in each folder or LMDB."""
        return sum(max(entry['count'], 1) for entry in self.entries)


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Inside, no other process can prepare into the same place."""
    try:
        settings.state_folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(settings.state_folder / 'lock', timeout=LOCK_SECONDS)
        lock.acquire()
    except Timeout:
        raise UserError(f"Another `basicsr prepare` is writing '{settings.targets[HR]}'; wait for it.") from None
    except OSError as error:
        raise UserError(f"Cannot write '{settings.out}': {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()


def run(settings: Settings, workers: int, watch: Watch, overwrite: bool = False) -> Report:
    """Prepare what is still to do.

    Args:
        settings: what.
        workers: number of processes.
        watch: given the plan, a context whose value is called once for every source that is through.
        overwrite: replace what was prepared with other settings.

    Raises:
        UserError: a mistake in the plan; images that cannot be used (the others are done all the same); a full disk.
            The next call goes on from there.
    """
    make_plan(settings, overwrite)  # mistakes are told before anything is written
    with locked(settings):
        plan = make_plan(settings, overwrite)
        try:
            if plan.other is not None:
                _clear(plan, Settings.from_record(plan.other, settings))
                plan = make_plan(settings)
            for folder in (settings.out, settings.state_folder):
                remove_parts(folder)
            if not settings_path(settings).exists():
                write_whole(settings_path(settings), json.dumps(settings.record()).encode(), sync=True)
            return _carry_out(plan, workers, watch)
        except OSError as error:
            raise UserError(f"Cannot write in '{settings.out}': {error.strerror or error}. What is done is kept; mend "
                            'that and run the same command again.') from error


def _clear(plan: Plan, before: Settings) -> None:
    """Remove what was prepared with other settings; killed in between, the next call removes the rest."""
    make_store(before).clear(list(read(journal_path(before)).values()))
    journal_path(before).unlink(missing_ok=True)
    settings_path(before).unlink()


def _carry_out(plan: Plan, workers: int, watch: Watch) -> Report:
    settings, start = plan.settings, time.perf_counter()
    store, journal = make_store(settings), Journal(journal_path(settings))
    pixels, problems = 0, []
    try:
        store.clean()
        if plan.todo or plan.gone:
            store.open()
        for entry in plan.gone:
            store.remove(entry['name'], 1, entry['count'])
        journal.append({'name': entry['name'], 'gone': True} for entry in plan.gone)
        begun = {source.name: max(count(settings, source.size), journal.entries.get(source.name, {}).get('count', 0))
                 for source in plan.todo}
        journal.append({'name': name, 'count': number} for name, number in begun.items())
        store.close()
        with watch(plan) as advance, _gathered(store, journal) as gather:
            for result in each(partial(prepare, settings=settings), plan.todo, workers):
                if result.entry is None:
                    problems.append((result.name, result.problem))
                else:
                    if begun[result.name] > result.entry['count']:
                        store.remove(result.name, result.entry['count'] + 1, begun[result.name])
                    height, width = result.entry['shape']
                    pixels += height * width
                    gather(result)
                advance()
        if problems:
            more = f' ({len(problems)} of {plan.images} images cannot be used)' if len(problems) > 1 else ''
            raise UserError(f'{min(problems)[1]}{more} The others are done; mend it and run the same command again.')
        entries = list(journal.entries.values())
        if plan.todo:
            store.clean()  # a worker of a killed run may have outlived it by a moment
        store.finish(entries)
        journal.rewrite()
        return Report(plan.images, len(plan.todo), time.perf_counter() - start, pixels, len(plan.sources.left_out),
                      len(plan.gone), entries)
    finally:
        store.close()
        journal.close()


@contextmanager
def _gathered(store: Store, journal: Journal) -> Iterator[Callable[[Result], None]]:
    """Takes results and notes them in the journal once they are permanent, also when interrupted."""
    waiting: list[Entry] = []

    def commit() -> None:
        store.commit()
        journal.append(waiting)
        waiting.clear()

    def gather(result: Result) -> None:
        store.add(result)
        waiting.append(result.entry or {})
        if store.full():
            commit()

    try:
        yield gather
    finally:
        commit()
