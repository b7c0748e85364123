"""Every command in README and docs is one that can be typed."""
import argparse
import importlib.metadata
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from basicsr_amsr import UserError
from basicsr_amsr.cli import build_parser
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import read_image
from tests.documentation.commands import commands, others

REPOSITORY = Path(__file__).resolve().parents[2]
LINES = {line.text: line.page for line in commands(REPOSITORY)}  # each command once
FILLED = {'--weights FILE': '--weights pretrained/RFDN_x4.pth', 'train -opt FILE': 'train -opt my_train.yml',
          '-opt FILE': '-opt options/test/rfdn_x4.yml', 'DIR': 'photos'}  # what a reader puts there
SKIPPED = {'CHECKOUT': 'needs a checkout of BasicSR', 'tests.infer.abuse': 'goes on when it is interrupted',
           'model_zoo/': 'needs weights of others',
           '--json docs/data/': 'measures for the results page, with images that it names'}
ON_A_GPU = 'benchmarks.triton_conv'  # without one it is a line, and exit code 2
SECONDS = 60  # what runs longer is interrupted, as a reader may do
ELSEWHERE = {  # lines that are no command of ours, by who runs them
    '.ci/run': (
        'python3 -m venv .venv', '. .venv/bin/activate', 'python install.py', 'python3 -m venv .venv-tests',
        '. .venv-tests/bin/activate', 'python install.py --extras tests', 'pytest -n auto', 'ruff check .', 'mypy',
        'python install.py --extras docs', 'mkdocs build --strict'),
    'tests/test_install.py': ('mkdir /tmp/fix', 'cat > /tmp/fix/sitecustomize.py'),
    'install.py, which does the same': (
        'python -m venv env', '. env/bin/activate', 'pip install torch torchvision',
        "pip install 'setuptools>=70.1' wheel", 'pip install --no-build-isolation basicsr==1.4.2', 'pip install -e .',
        'pip install .', 'PYTHONPATH=/tmp/fix pip install --no-build-isolation basicsr==1.4.2'),
    'pytest, which would run itself': (
        'pytest', 'pytest -m quick', 'pytest -m slow', 'pytest tests/documentation',
        'pytest -m slow tests/documentation',
        'pytest tests/backbones/test_published_figures.py', 'pytest -m slow tests/cli/test_dncnn_bsd68.py'),
    'a reader alone: more packages, or others, over the network': (
        'python install.py --extras dev', 'python install.py --extras rivals', 'pip install spandrel',
        'pip install openvino', 'pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu',
        'pip install -U torch torchvision', 'pip uninstall -y opencv-python opencv-python-headless',
        'pip install opencv-python-headless', 'pip check', 'pip uninstall -y tensorboard tb-nightly',
        'pip install tb-nightly'),
    'a reader alone: another Python': (
        'python3.12 -m pip wheel --no-deps --no-build-isolation basicsr==1.4.2',
        'pip install basicsr-1.4.2-py3-none-any.whl'),
    'a reader alone: goes on until it is stopped': ('mkdocs serve',)}


def fragment(words: list[str]) -> bool:
    """Whether a command in running text names a flag alone: `basicsr bench --rivals`."""
    return words[1] in ('bench', 'profile', 'train', 'prepare') and not {'-opt', '--network', '--hr'} & set(words)


def test_it_is_known_who_runs_every_other_line():
    assert {line.text for line in others(REPOSITORY)} == {line for lines in ELSEWHERE.values() for line in lines}


def test_the_tests_that_are_named_are_there():
    for line in (line for line in others(REPOSITORY) if line.text.startswith('pytest')):
        for path in re.findall(r'\btests/[\w/]+(?:\.py)?', line.text):
            assert (REPOSITORY / path).exists(), f'{line.page}: {path}'


def test_extras_are_those_of_the_package():
    extras = importlib.metadata.metadata('basicsr_amsr').get_all('Provides-Extra')
    for line in others(REPOSITORY):
        for names in re.findall(r'--extras (\S+)', line.text):
            assert set(names.split(',')) <= set(extras), f'{line.page}: {line.text}'


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
def test_benchmarks_get_the_flags_that_they_take(text):
    words = shlex.split(text)[1:]
    place = REPOSITORY / (words[1].replace('.', '/') if words[0] == '-m' else words[0])
    file = next(path for path in (place, place.with_suffix('.py'), place / '__main__.py') if path.is_file())
    source = file.read_text(encoding='utf-8')
    for flag in (word for word in words if word.startswith('--')):
        assert f"'{flag}'" in source, f'{LINES[text]}: {text}: {file} has no {flag}'
    for flags in re.findall(r"parser\.add_argument\((.*)required=True", source):
        names = re.findall(r"'(-[\w-]+)'", flags)
        assert set(names) & set(words), f'{LINES[text]}: {text}: {file} wants {names}'


@pytest.mark.parametrize('path', sorted({(path, LINES[text]) for text in LINES
                                         for path in re.findall(r'\b(?:options|pretrained)/[\w./]+\.\w+', text)}))
def test_files_are_there(path):
    file, page = path
    assert (REPOSITORY / file).is_file(), f'{page}: {file}'


@pytest.fixture(scope='module')
def folder(tmp_path_factory, shared):
    """A folder as a reader has it: data sets, LR images, option files of one's own.

    Folders are new and hold links to single images, so that no command writes among those of others.
    """
    top = tmp_path_factory.mktemp('reader')
    benchmark, photos = shared / 'data' / 'benchmark', shared / 'data' / 'train' / 'gb82'
    for name, source in {
            'datasets/Set5/GTmod12': benchmark / 'Set5' / 'HR', 'datasets/BSD68_gray': benchmark / 'BSD68_gray',
            'datasets/DIV2K/DIV2K_train_HR': photos, 'datasets/Flickr2K/Flickr2K_HR': photos, 'HR': photos,
            'Set5/HR': benchmark / 'Set5' / 'HR', 'Set14/HR': benchmark / 'Set14' / 'HR', 'photos': photos,
            'BSD68_gray': benchmark / 'BSD68_gray', 'BSD100/HR': benchmark / 'BSD100' / 'HR', 'lr': photos,
            'lr/270x480/median': photos, 'lr/lr4/270x480/median': photos, 'lr/lr4/750x1000/median': photos,
            'lr/lr4/128x128/ten': photos}.items():
        (top / name).mkdir(parents=True)
        for image in filter(Path.is_file, source.iterdir()):
            (top / name / image.name).symlink_to(image)
    (top / 'docs').mkdir()  # python -m benchmarks.results writes there
    for name in ('options', 'pretrained', 'benchmarks', 'tests', 'docs/data'):
        (top / name).symlink_to(REPOSITORY / name)
    for name in ('HR', 'LR'):
        (top / 'mine' / name).mkdir(parents=True)
    for image in sorted(photos.glob('*.jpg'))[:2]:
        whole = read_image(image)[:576, :576]
        cv2.imwrite(str(top / 'mine' / 'HR' / f'{image.stem}.png'), whole)
        cv2.imwrite(str(top / 'mine' / 'LR' / f'{image.stem}_small.png'), downscale(whole, 4))
    (top / 'own.pth').symlink_to(REPOSITORY / 'pretrained' / 'RFDN_x4.pth')
    (top / 'my_test.yml').write_text(option_file_of_the_quick_start())
    (top / 'my_train.yml').write_text('base: options/mga_rcan_x4.yml\nname: killed\n')
    return top


def option_file_of_the_quick_start() -> str:
    """`my_test.yml` as docs/quick_start.md has it."""
    return (REPOSITORY / 'docs' / 'quick_start.md').read_text(encoding='utf-8').split('```yaml\n')[1].split('```')[0]


def trained(folder: Path, text: str) -> None:
    """What a training or fit that the page describes has left, in place of the one that is interrupted here."""
    if 'my_test.yml' in text and 'calibrate' not in text:
        shutil.copy(REPOSITORY / 'pretrained' / 'RFDN_x4.amsr', folder / 'my_network.amsr')
    for name in re.findall(r'experiments/[\w./]+\.(?:pth|amsr)', text):
        shipped, file = REPOSITORY / 'pretrained' / f'CARN_M_x4_tuned{Path(name).suffix}', folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == '.amsr':
            shutil.copy(shipped, file)
        else:
            weights = torch.load(shipped, weights_only=True)['params']
            torch.save({'params': weights, 'params_ema': weights}, file)


def filled_in(text: str) -> str:
    """A command with files and folders in place of FILE and DIR."""
    for hole, filling in FILLED.items():
        text = re.sub(rf'{re.escape(hole)}\b', filling, text)
    return text


@pytest.mark.slow
@pytest.mark.parametrize('text', LINES)
def test_it_runs(text, folder, shared):
    for word, why in SKIPPED.items():
        if word in text:
            pytest.skip(why)
    if ON_A_GPU in text and not torch.cuda.is_available():
        pytest.skip('needs an NVIDIA GPU')
    words = shlex.split(filled_in(text))
    if words[0] == 'basicsr' and fragment(words):
        pytest.skip('names a flag alone')
    trained(folder, text)
    program = {'basicsr': ['-m', 'basicsr_amsr'], 'torchrun': ['-m', 'torch.distributed.run'], 'python': []}[words[0]]
    command = [sys.executable, *program, *words[1:]]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env={**os.environ, 'BASICSR_AMSR_SHARED': str(shared)}) as process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=SECONDS)
            interrupted = process.returncode in (0, 130, -signal.SIGINT)
            assert interrupted or (words[0] == 'torchrun' and 'got signal: 2' in output), output[-3000:]
            return
    assert process.returncode == 0, output[-3000:]
