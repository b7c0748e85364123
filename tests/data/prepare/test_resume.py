"""Killed anywhere, called again: the result is that of one run, and nothing half-written is ever under a final name."""
from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import lmdb
import pytest
from filelock import FileLock

from basicsr_amsr import UserError, files
from basicsr_amsr.data.prepare import lmdb_writer
from basicsr_amsr.data.prepare.carry_out import run
from basicsr_amsr.data.prepare.settings import HR, Settings
from basicsr_amsr.data.prepare.work_plan import make_plan
from tests.data.prepare.conftest import lmdb_content, read, tree, unwatched, write

FORK = multiprocessing.get_context('fork')


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch):
    """SIGKILL loses nothing that was written; only a power failure would."""
    monkeypatch.setattr(os, 'fsync', lambda _: None)


def prepare(settings, workers=1, **more):
    return run(settings, workers, unwatched, **more)


def refused(*args, **more) -> str:
    with pytest.raises(UserError) as error:
        prepare(*args, **more)
    assert '\n' not in str(error.value)
    return str(error.value)


def in_child(function) -> int:
    """The exit code of a process that runs it; minus the signal where one ended it."""
    child = FORK.Process(target=function)
    child.start()
    child.join()
    return child.exitcode


def die_at(step: int, settings: Settings, **more) -> None:
    """Prepare, and die by SIGKILL at the given one of all steps that change the disk, half of the writes done."""
    left = [step]

    def stepping(function):
        def called(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return called

    def half_a_file(path, data):
        part = files.part_name(path)
        part.write_bytes(data[:len(data) // 2])

    def write_whole(path, data, sync=False, whole=files.write_whole):
        left[0] -= 1
        if left[0] == 0:
            half_a_file(path, data)
            os.kill(os.getpid(), signal.SIGKILL)
        whole(path, data, sync)

    from basicsr_amsr.data.prepare import carry_out as running
    from basicsr_amsr.data.prepare import journal, stores, work
    for module in (journal, stores, work, running):
        module.write_whole = write_whole
    lmdb_writer.BATCH_SECONDS = stores.NOTE_SECONDS = 0
    for name in ('replace', 'rename', 'fsync', 'unlink'):
        setattr(os, name, stepping(getattr(os, name)))
    lmdb_writer.LmdbStore._write = stepping(lmdb_writer.LmdbStore._write)
    run(settings, 1, unwatched, **more)


def check_finals(settings: Settings) -> None:
    """Every file with a final name is complete; an LMDB is there only with all its images."""
    for name in (path for path in settings.out.rglob('*.png') if not path.name.startswith('.')):
        assert read(name).size
    for target in settings.targets.values():
        if settings.lmdb and target.exists():
            assert len(lmdb_content(target)) == len((target / 'meta_info.txt').read_text().splitlines())


@pytest.mark.parametrize('lmdb', [False, True])
def test_killed_at_every_step(make, tmp_path, hr, lmdb):
    for name in 'bc':
        (hr / f'{name}.png').unlink()
    write(hr / 'd.png', (24, 30, 3))
    expected = make(crop=36, scales=(3,), lmdb=lmdb, out=tmp_path / 'expected')
    prepare(expected)
    steps = 0
    while True:
        steps += 1
        settings = make(crop=36, scales=(3,), lmdb=lmdb, out=tmp_path / f'killed{steps}')
        code = in_child(partial(die_at, steps, settings))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        check_finals(settings)
        prepare(settings)
        assert tree(settings.out) == tree(expected.out), steps
    assert steps > (15 if lmdb else 25)


def test_killed_again_and_again_in_one_folder(make, tmp_path):
    """Each run gets a few steps further than the one before."""
    expected, settings = make(crop=24, out=tmp_path / 'expected'), make(crop=24)
    prepare(expected)
    runs = 0
    while in_child(partial(die_at, 150, settings)) != 0:
        runs += 1
        assert runs < 20
    assert runs > 1
    assert tree(settings.out) == tree(expected.out)


@pytest.mark.parametrize('lmdb', [False, True])
def test_killed_with_workers(make, tmp_path, hr, lmdb):
    """The workers of a killed run end too, and let go of the lock."""
    for index in range(8):
        write(hr / f'more{index}.png', (200, 250, 3), index)
    expected = make(crop=48, lmdb=lmdb, out=tmp_path / 'expected')
    prepare(expected)
    settings = make(crop=48, lmdb=lmdb)
    for milliseconds in (150, 250, 400):
        child = FORK.Process(target=lambda: run(settings, 2, unwatched))
        child.start()
        time.sleep(milliseconds / 1000)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        check_finals(settings)
    prepare(settings, workers=2)
    assert tree(settings.out) == tree(expected.out)


@pytest.mark.parametrize('workers', [1, 2])
def test_interrupted(make, tmp_path, workers):
    """Ctrl-C: what was done is in the journal, and the next run does only the rest."""
    @contextmanager
    def interrupting(_):
        def advance():
            raise KeyboardInterrupt
        yield advance

    for use_lmdb in (False, True):
        settings = make(crop=24, lmdb=use_lmdb)
        with pytest.raises(KeyboardInterrupt):
            run(settings, workers, interrupting)
        assert len(make_plan(settings).todo) == 2
        check_finals(settings)
        assert prepare(settings).prepared == 2


def test_second_run_does_nothing(make):
    for settings in (make(), make(lmdb=True)):
        prepare(settings)
        before = {path: path.stat().st_mtime_ns for path in settings.out.rglob('*.png')}
        assert prepare(settings).prepared == 0
        assert before == {path: path.stat().st_mtime_ns for path in settings.out.rglob('*.png')}


@pytest.mark.parametrize('lmdb', [False, True])
def test_changed_new_and_removed_sources(make, tmp_path, hr, lmdb):
    """As if it had been prepared from the present images, also where there are fewer sub-images now."""
    settings = make(crop=24, lmdb=lmdb)
    prepare(settings)
    write(hr / 'b.png', (30, 30, 3), seed=7)
    write(hr / 'new.png', (36, 36, 3))
    (hr / 'c.png').unlink()
    report = prepare(settings)
    assert (report.prepared, report.removed) == (2, 1)
    expected = make(crop=24, lmdb=lmdb, out=tmp_path / 'expected')
    prepare(expected)
    assert tree(settings.out) == tree(expected.out)


def test_killed_while_redoing_a_changed_source(make, tmp_path, hr):
    write(hr / 'a.png', (72, 72, 3), seed=5)
    settings, expected = make(crop=24, scales=(2,)), make(crop=24, scales=(2,), out=tmp_path / 'expected')
    prepare(settings)
    write(hr / 'a.png', (48, 48, 3), seed=6)
    prepare(expected)
    step = 1
    while in_child(partial(die_at, step, settings)) != 0:
        step += 5
        check_finals(settings)
        assert step < 200
    assert tree(settings.out) == tree(expected.out) and step > 10


def test_lost_and_shortened_results_are_made_again(make, tmp_path):
    """As after a power failure."""
    for settings in (make(), make(lmdb=True)):
        prepare(settings)
        before = tree(settings.out)
        if settings.lmdb:
            env = lmdb.open(str(settings.targets[3]))
            with env.begin(write=True) as txn:
                txn.delete(b'b')
            env.close()
        else:
            (settings.targets[HR] / 'a.png').unlink()
            (settings.targets[2] / 'c.png').write_bytes(b'')
        assert prepare(settings).prepared == (1 if settings.lmdb else 2)
        assert tree(settings.out) == before


def test_a_journal_cut_short_is_read_up_to_there(make):
    settings = make()
    prepare(settings)
    expected, path = tree(settings.out), settings.state_folder / 'journal.jsonl'
    path.write_bytes(path.read_bytes()[:-20])
    assert prepare(settings).prepared == 1
    assert tree(settings.out) == expected


@pytest.mark.parametrize('lmdb', [False, True])
def test_other_settings(make, tmp_path, lmdb):
    settings, other = make(crop=24, lmdb=lmdb), make(crop=36, scales=(3, 2), lmdb=lmdb)
    prepare(settings)
    before = tree(settings.out)
    assert 'was prepared with scale 2,3, not 3,2; give another --out' in refused(other)
    assert tree(settings.out) == before
    wide = make(crop=24, step=24, lmdb=lmdb)
    assert 'was prepared with step 12, not 24' in refused(wide)
    step = 1
    while in_child(partial(die_at, step, other, overwrite=True)) != 0:
        step += 7
        assert step < 300
    expected = make(crop=36, scales=(3, 2), lmdb=lmdb, out=tmp_path / 'expected')
    prepare(expected)
    assert tree(settings.out) == tree(expected.out) and step > 7


def test_several_preparations_in_one_folder(make):
    for settings in (make(), make(crop=24), make(lmdb=True), make(name='Other')):
        assert prepare(settings).prepared == 3
    assert prepare(make()).prepared == 0


def test_foreign_results_are_left_alone(make):
    settings = make()
    write(settings.targets[2] / 'mine.png', (4, 4, 3))
    before = tree(settings.out)
    for overwrite in (False, True):
        assert 'is there already and not from `basicsr prepare`' in refused(settings, overwrite=overwrite)
    assert tree(settings.out) == before


def test_leftovers_are_cleaned_up(make):
    settings = make()
    prepare(settings)
    (settings.targets[2] / '.b.png.123.part').write_bytes(b'half')
    (settings.targets[2] / 'b.png').unlink()
    prepare(settings)
    assert not list(settings.out.rglob('*.part'))


@pytest.mark.parametrize('workers', [1, 2])
def test_full_disk(make, tmp_path, monkeypatch, workers):
    settings, expected = make(), make(out=tmp_path / 'expected')
    prepare(expected)
    with monkeypatch.context() as patch:
        def replace(source, target, plain=os.replace):
            if Path(target).name == 'b.png':
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            plain(source, target)
        patch.setattr(os, 'replace', replace)
        line = refused(settings, workers)
    assert 'b.png' in line and 'No space left on device' in line and 'same command again' in line
    check_finals(settings)
    assert not list(settings.targets[HR].glob('.*'))
    prepare(settings)
    assert tree(settings.out) == tree(expected.out)


def test_full_disk_under_an_lmdb(make, monkeypatch):
    settings = make(lmdb=True)
    with monkeypatch.context() as patch:
        def begin(*_, **__):
            raise lmdb.DiskError('No space left on device')
        patch.setattr(lmdb_writer.LmdbStore, '_env', lambda *_: type('Full', (), {'begin': begin})())
        assert 'No space left on device' in refused(settings)
    assert prepare(settings).prepared == 3


def test_unusable_images_are_named_and_the_others_done(make, hr):
    (hr / 'broken.png').write_bytes((hr / 'a.png').read_bytes()[:200])
    cv2.imwrite(str(hr / 'clear.png'), read(hr / 'b.png')[:, :, [0, 1, 2, 0]])
    settings = make(lmdb=True)
    line = refused(settings)
    assert 'broken.png' in line and '(2 of 5 images cannot be used)' in line
    assert not settings.targets[HR].exists()
    (hr / 'broken.png').unlink()
    assert 'clear.png' in refused(settings) and 'transparent' in refused(settings)
    (hr / 'clear.png').unlink()
    assert prepare(settings).prepared == 0 and settings.targets[HR].exists()


def test_two_at_a_time(make, monkeypatch):
    from basicsr_amsr.data.prepare import carry_out as running
    monkeypatch.setattr(running, 'LOCK_SECONDS', 0.1)
    settings = make()
    prepare(settings)
    with FileLock(settings.state_folder / 'lock'):
        assert 'Another `basicsr prepare` is writing' in refused(settings)
