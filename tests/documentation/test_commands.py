"""Every command in README and docs is one that can be typed."""
import argparse
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from basicsr_amsr import UserError
from basicsr_amsr.cli import build_parser
from tests.documentation.commands import commands, others

REPOSITORY = Path(__file__).resolve().parents[2]
LINES = {line.text: line.page for line in commands(REPOSITORY)}  # each command once
FILLED = {'--weights FILE': '--weights pretrained/RFDN_x4.pth', 'train -opt FILE': 'train -opt my_train.yml',
          '-opt FILE': '-opt options/test/rfdn_x4.yml', 'DIR': 'photos'}  # what a reader puts there
SKIPPED = {'CHECKOUT': 'needs a checkout of BasicSR', 'tests.infer.abuse': 'goes on when it is interrupted'}
SECONDS = 60  # what runs longer is interrupted, as a reader may do
INSTALLING = {  # pages whose blocks have other lines, and who runs these
    'README.md': '.ci/run, word for word', 'docs/quick_start.md': '.ci/run, as README has them',
    'docs/install.md': 'nobody but a reader: other ways to install, over the network',
    'docs/bench.md': 'nobody but a reader: pip install of the rivals'}


def fragment(words: list[str]) -> bool:
    """Whether a command in running text names a flag alone: `basicsr bench --rivals`."""
    return words[1] in ('bench', 'profile', 'train', 'prepare') and not {'-opt', '--network', '--hr'} & set(words)


def test_no_other_page_has_lines_that_nobody_runs():
    assert {line.page for line in others(REPOSITORY)} == set(INSTALLING)


@pytest.mark.parametrize('text', [text for text in LINES if text.startswith(('basicsr ', 'torchrun '))])
def test_flags_are_those_of_the_command(text):
    words = shlex.split(text.rpartition('-m basicsr_amsr ')[2].removeprefix('basicsr '))
    try:
        args = build_parser(words[0]).parse_args(words)
    except UserError as error:
        assert fragment(['basicsr', *words]) and 'required' in str(error), f'{LINES[text]}: {text}: {error}'
    else:
        assert isinstance(args, argparse.Namespace)


@pytest.mark.parametrize('text', [text for text in LINES if text.startswith('python')])
def test_benchmarks_take_their_flags(text):
    words = shlex.split(text)[1:]
    place = REPOSITORY / (words[1].replace('.', '/') if words[0] == '-m' else words[0])
    file = next(path for path in (place, place.with_suffix('.py'), place / '__main__.py') if path.is_file())
    source = file.read_text(encoding='utf-8')
    for flag in (word for word in words if word.startswith('--')):
        assert f"'{flag}'" in source, f'{LINES[text]}: {text}: {file} has no {flag}'


@pytest.mark.parametrize('path', sorted({(path, LINES[text]) for text in LINES
                                         for path in re.findall(r'\b(?:options|pretrained)/[\w./]+\.\w+', text)}))
def test_files_are_there(path):
    file, page = path
    assert (REPOSITORY / file).is_file(), f'{page}: {file}'


@pytest.fixture(scope='module')
def folder(tmp_path_factory, shared):
    """A folder as a reader has it: data sets, LR images, an option file of one's own."""
    top = tmp_path_factory.mktemp('reader')
    benchmark, photos = shared / 'data' / 'benchmark', shared / 'data' / 'train' / 'gb82'
    for name, target in {
            'datasets/Set5/GTmod12': benchmark / 'Set5' / 'HR', 'datasets/BSD68_gray': benchmark / 'BSD68_gray',
            'datasets/DIV2K/DIV2K_train_HR': photos, 'datasets/Flickr2K/Flickr2K_HR': photos, 'HR': photos,
            'Set5/HR': benchmark / 'Set5' / 'HR', 'Set14/HR': benchmark / 'Set14' / 'HR', 'photos': photos,
            'BSD68_gray': benchmark / 'BSD68_gray', 'BSD100/HR': benchmark / 'BSD100' / 'HR', 'lr': photos,
            'lr/270x480/median': photos, 'Set14/LR_bicubic/X4': photos,
            'mine/HR': photos, 'options': REPOSITORY / 'options', 'pretrained': REPOSITORY / 'pretrained',
            'benchmarks': REPOSITORY / 'benchmarks', 'tests': REPOSITORY / 'tests'}.items():
        link = top / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(target)
    (top / 'my_test.yml').write_text('base: options/test/rfdn_x4.yml\nname: mine\n')
    (top / 'my_train.yml').write_text('base: options/mga_rcan_x4.yml\nname: killed\n')
    return top


def filled_in(text: str) -> str:
    """A command with files and folders in place of FILE and DIR."""
    for hole, filling in FILLED.items():
        text = re.sub(rf'{re.escape(hole)}\b', filling, text)
    return text


@pytest.mark.slow
@pytest.mark.parametrize('text', LINES)
def test_it_runs(text, folder):
    for word, why in SKIPPED.items():
        if word in text:
            pytest.skip(why)
    words = shlex.split(filled_in(text))
    if words[0] == 'basicsr' and fragment(words):
        pytest.skip('names a flag alone')
    program = {'basicsr': ['-m', 'basicsr_amsr'], 'torchrun': ['-m', 'torch.distributed.run'], 'python': []}[words[0]]
    command = [sys.executable, *program, *words[1:]]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=SECONDS)
            interrupted = process.returncode in (0, 130, -signal.SIGINT)
            assert interrupted or (words[0] == 'torchrun' and 'got signal: 2' in output), output[-3000:]
            return
    assert process.returncode == 0, output[-3000:]
