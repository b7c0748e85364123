"""The command: what it prints, that its options train, and one line for every mistake."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import error_line, options_to_train
from tests.data.prepare.conftest import tree, write


@pytest.fixture
def photos(project) -> Path:
    """Four images in photos/, two of them smaller than 96."""
    for index, size in enumerate([(100, 150), (97, 120), (60, 64), (48, 90)]):
        write(project / f'photos/{index}.png', (*size, 3), index)
    return project / 'photos'


def refused(basicsr, *words) -> str:
    code, _, err = basicsr('prepare', None, *words)
    assert code == 2
    return error_line(err)


def train_options(out: str) -> dict:
    """The YAML that was printed, put into an option file."""
    printed = yaml.safe_load(out[out.index('scale: '):])
    assert list(printed) == ['scale', 'datasets']
    printed['datasets']['train'].update(batch_size_per_gpu=2, num_worker_per_gpu=0)
    options = options_to_train(**printed)
    options['network_g']['upscale'] = printed['scale']
    return options


@pytest.mark.parametrize('words', [
    ('--hr', 'photos', '--out', 'made', '--scale', '2'),
    ('--hr', 'photos', '--out', 'made', '--scale', '3', '--filename-tmpl', '{}x{scale}', '--name', 'Toy'),
    ('--hr', 'photos', '--out', 'made', '--scale', '2,4', '--crop', '48'),
    ('--hr', 'photos', '--out', 'made', '--scale', '2', '4', '--crop', '48', '--lmdb'),
    ('--hr', 'photos', '--out', 'made', '--scale', '2', '--lmdb'),
    ('--check', '--hr', 'photos', '--scale', '2'),
    ('--check', '--hr', 'data/gt', '--lr', 'data/lq', '--scale', '2'),
])
def test_printed_options_train(basicsr, photos, words):
    code, out, err = basicsr('prepare', None, *words, '--workers', '1')
    assert code == 0, err
    code, out, err = basicsr('train', train_options(out))
    assert code == 0 and 'weights: ' in out, err


def test_prepared_images_are_in_order_and_a_second_run_does_nothing(basicsr, photos):
    words = ('--hr', 'photos', '--out', 'made', '--scale', '2,3,4', '--crop', '48', '--workers', '1')
    code, out, _ = basicsr('prepare', None, *words)
    assert code == 0
    assert 'images/s' in out and 'MPixel/s' in out and '# scale 2: dataroot_lq: made/LR_bicubic/X2_sub' in out
    assert 'gt_size: 48' in out
    before = tree(Path('made'))
    code, out, _ = basicsr('prepare', None, *words)
    assert code == 0 and 'Nothing to do' in out and tree(Path('made')) == before
    code, out, _ = basicsr('prepare', None, '--check', '--hr', 'made', '--workers', '1')
    assert code == 0
    assert out.splitlines()[:2] == ['HR: made/HR_sub', "LR, scale 2: made/LR_bicubic/X2_sub, names '{}'"]


def test_dry_run_changes_nothing(basicsr, photos):
    code, out, _ = basicsr('prepare', None, '--hr', 'photos', '--out', 'made', '--scale', '4', '--crop', '96',
                           '--dry-run', '--json', 'plan.json')
    assert code == 0 and not Path('made').exists()
    assert '4 HR images from photos; 0 done, 4 to do' in out
    assert "2 images are smaller than the crop of 96 and are kept at their own size (the first is 'photos/2.png', " \
        '60x64)' in out
    assert 'made/HR_sub: 10 images, about ' in out and ' are free' in out
    plan = json.loads(Path('plan.json').read_text())
    assert plan['smaller_than_crop'] == ['photos/2.png', 'photos/3.png'] and plan['to_do'] == 4
    code, _, _ = basicsr('prepare', None, '--hr', 'photos', '--out', 'made', '--scale', '4', '--crop', '96')
    made = sum(path.stat().st_size for path in Path('made/HR_sub').iterdir())
    assert 0.7 < plan['bytes_about']['made/HR_sub'] / made < 1.4


def test_json(basicsr, photos):
    code, _, _ = basicsr('prepare', None, '--hr', 'photos', '--out', 'made', '--scale', '4', '--json', 'made.json')
    report = json.loads(Path('made.json').read_text())
    assert code == 0 and report['prepared'] == 4 and report['images_per_second'] > 0
    assert report['results']['made/LR_bicubic/X4'] == {
        'images': 4, 'bytes': sum(path.stat().st_size for path in Path('made/LR_bicubic/X4').iterdir())}
    assert report['datasets']['4']['dataroot_lq'] == 'made/LR_bicubic/X4'
    Path('data/lq/b.png').unlink()
    line = refused(basicsr, '--check', '--hr', 'data/gt', '--lr', 'data/lq', '--scale', '2', '--json', 'check.json')
    problems = json.loads(Path('check.json').read_text())['problems']
    assert len(problems) == 1 and problems[0] in line


@pytest.mark.parametrize(('words', 'expected'), [
    (('--hr', 'absent', '--out', 'made', '--scale', '4'), "Folder 'absent' is not there."),
    (('--hr', 'empty', '--out', 'made', '--scale', '4'), "Folder 'empty' holds no image"),
    (('--hr', 'photos', '--scale', '4'), '--out is missing'),
    (('--hr', 'photos', '--out', 'made'), '--scale is missing'),
    (('--hr', 'photos', '--out', 'made', '--scale', '0'), '--scale 0: a scale is a whole number of 2 or more'),
    (('--hr', 'photos', '--out', 'made', '--scale', 'four'), '--scale four: scales are whole numbers'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2,2'), 'names a scale twice'),
    (('--hr', 'photos', '--out', 'made', '--scale', '4', '--crop', '48', '--step', '96'),
     '--step 96 is larger than --crop 48'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2,3', '--crop', '50'),
     '--crop 50 is no multiple of 6, which the scales 2, 3 need; the nearest is 48.'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--crop', '0'), '--crop 0: it must be 1 or more'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--step', '8'), 'give --crop too'),
    (('--hr', 'photos', '--out', 'made', '--scale', '3', '--mod', '4'), '--mod 4 is no multiple of 3'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--compression', '10'), '--compression 10'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--filename-tmpl', 'x4'), "--filename-tmpl 'x4' cannot name"),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--filename-tmpl', '{name}'), "'{name}' cannot name"),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--filename-tmpl', '{}x2', '--lmdb'), 'the same names'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--name', 'a/b'), 'cannot hold a slash'),
    (('--hr', 'photos', '--out', 'photos/made', '--scale', '2'), "'photos/made' lies in 'photos', which is read"),
    (('--hr', 'photos', '--out', 'photos', '--scale', '2'), 'give a folder outside'),
    (('--hr', 'set/HR', '--out', 'set', '--scale', '2'), "would go to 'set/HR'"),
    (('--hr', 'photos', 'photos/../photos', '--out', 'made', '--scale', '2'), 'twice'),
    (('--hr', 'photos', 'data/gt', '--lr', 'data/lq', '--out', 'made', '--scale', '2'), 'one HR folder'),
    (('--hr', 'photos', 'set/HR', '--out', 'made', '--scale', '2'),
     "'photos/0.png' and 'set/HR/0.png' would both become 0.png; rename one, or add --prefix"),
    (('--hr', 'photos', '--out', 'photos/0.png', '--scale', '2'), None),
    (('--hr', 'photos', '--out', 'file', '--scale', '2'), "--out 'file': 'file' is a file"),
    (('--hr', 'photos', '--out', 'file/made', '--scale', '2'), "--out 'file/made': 'file' is a file"),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--json', 'photos'), "--json 'photos' is a folder"),
    (('--hr', 'photos', '--out', '/proc/made', '--scale', '2'), "Cannot write '/proc/made'"),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--json', '/proc/made.json'),
     "Cannot write '/proc/made.json'"),
    (('--hr', 'photos', '--out', 'made', '--scale', '64'), 'too small to be cropped to a multiple of 64'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--min-size', '999'), 'All 4 images have a side shorter'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--workers', '0'), '--workers 0'),
    (('--hr', 'photos', '--out', 'made', '--scale', '2', '--json', 'no/where.json'), "no folder 'no'"),
    (('--hr', 'photos', '--lr', 'absent', '--out', 'made', '--scale', '2'), "Folder 'absent' is not there."),
    (('--check', '--hr', 'absent'), "Folder 'absent' is not there."),
    (('--check', '--hr', 'data/gt', '--lr', 'absent', '--scale', '2'), "Folder 'absent' is not there."),
    (('--check', '--hr', 'data/gt', '--lr', 'data/lq'), 'give --scale'),
    (('--check', '--hr', 'data/gt', '--lr', 'data/lq', '--scale', '4'),
     "'data/gt/a.png' is 32x32 and 'data/lq/a.png' 16x16: at scale 4 HR must be 64x64. (3 problems in 3 pairs)"),
    (('--check', '--hr', 'data/gt', 'photos'), 'one HR folder at a time'),
])
def test_mistakes_are_one_line(basicsr, photos, words, expected):
    Path('empty').mkdir()
    Path('file').touch()
    write(Path('set/HR/0.png'), (12, 12, 3))
    before = sorted(path for path in Path().rglob('*'))
    line = refused(basicsr, *words)
    assert expected is None or expected in line
    assert sorted(path for path in Path().rglob('*') if 'made' not in path.parts) == before


def test_names_that_are_no_lmdb_keys(basicsr, photos):
    (photos / '1.png').rename(photos / 'größe.png')
    assert 'größe.png' in refused(basicsr, '--hr', 'photos', '--out', 'made', '--scale', '2', '--lmdb')
    code, _, _ = basicsr('prepare', None, '--hr', 'photos', '--out', 'made', '--scale', '2')
    assert code == 0


def test_name_that_is_no_utf8(basicsr, photos):
    os.rename(photos / '1.png', os.fsencode(photos) + b'/\xff.png')
    assert 'is no UTF-8 (1 such files)' in refused(basicsr, '--hr', 'photos', '--out', 'made', '--scale', '2')
    assert not Path('made').exists()


def test_damaged_lmdb(basicsr, photos):
    words = ('--hr', 'photos', '--out', 'made', '--scale', '2', '--lmdb', '--workers', '1')
    assert basicsr('prepare', None, *words)[0] == 0
    expected = tree(Path('made'))
    for rest in (b'', bytes(5000)):
        Path('made/HR.lmdb/data.mdb').write_bytes(rest)
        assert "'made/HR.lmdb' is damaged" in refused(basicsr, *words)
    shutil.rmtree('made/HR.lmdb')
    assert basicsr('prepare', None, *words)[0] == 0
    assert tree(Path('made')) == expected


def test_ctrl_c_on_the_whole_group(photos):
    """As a terminal sends it: to the command and its workers; exit code 130, one line, and the next run goes on."""
    for index in range(32):
        write(photos / f'more{index}.png', (250, 250, 3), index)
    command = [sys.executable, '-m', 'basicsr_amsr', 'prepare', '--hr', 'photos', '--out', 'made', '--scale', '2,3,4',
               '--crop', '48', '--workers', '2']
    # A shell starts what it puts into the background with the signal ignored, and children inherit that.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    end = time.monotonic() + 60
    while not list(Path('made').glob('HR_sub/more*')) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert 'the same command goes on from there' in err and 'Traceback' not in err
    journal = Path('made/.prepare/HR_sub/journal.jsonl').read_text()
    assert 0 < journal.count('"shape"') < 32
