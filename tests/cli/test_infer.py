"""`basicsr infer`: pictures and folders through a tiny network."""
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from basicsr_amsr import files
from basicsr_amsr.amsr.calibration.choose import calibrate
from basicsr_amsr.cli import main
from basicsr_amsr.infer import fitting, writing
from basicsr_amsr.infer.upscaler import Upscaler
from tests.backbones.tiny import network
from tests.cli.conftest import error_line
from tests.infer.conftest import picture
from tests.kernels import needs_kernels


@pytest.fixture
def folder(tmp_path, monkeypatch, fitted_weights):
    """The current folder, with five pictures in `in`, weights and their calibration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fitting, 'cache', lambda: tmp_path / 'cache')
    (tmp_path / 'in').mkdir()
    for number in range(5):
        Image.fromarray(picture(20, 24 + number, seed=number)).save(tmp_path / 'in' / f'p{number}.png')
    for file in fitted_weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


@pytest.fixture(scope='session')
def fitted_weights(tmp_path_factory):
    folder, net = tmp_path_factory.mktemp('weights'), network('EDSR', 2)
    torch.save({'params': net.state_dict()}, folder / 'tiny_x2.pth')
    images = [torch.from_numpy(picture(40, 36, seed=seed) / 255).float().permute(2, 0, 1)[None] for seed in range(3)]
    calibrate(net, images).save(folder / 'tiny.amsr')
    return folder


@pytest.fixture
def infer(folder, capsys):
    """Runs `basicsr infer` with these weights; exit code, stdout, stderr."""
    def run(*words, weights=('--weights', 'tiny_x2.pth')):
        capsys.readouterr()
        code = main(['infer', '--device', 'cpu', *weights, *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def size(path):
    with Image.open(path) as image:
        return image.size


@needs_kernels
def test_a_picture(infer):
    code, out, err = infer('-i', 'in/p0.png', '-o', 'large.jpg', '--fp32')
    assert code == 0 and size('large.jpg') == (48, 40) and not err
    first, second = out.splitlines()
    assert first.startswith('tiny_x2 x2: dense, fp32, cpu by native kernels') and 'fit it yourself' in first
    assert second.startswith('large.jpg: 48x40, ')


def test_a_folder_and_what_is_finished(infer):
    assert infer('-i', 'in')[0] == 0
    results = sorted(Path('results').iterdir())
    assert [path.name for path in results] == [f'p{n}_out.png' for n in range(5)]
    before = results[1].stat().st_mtime_ns
    results[0].unlink()
    code, out, _ = infer('-i', 'in', '--json', 'what.json')
    assert code == 0 and results[0].is_file() and results[1].stat().st_mtime_ns == before
    assert out.count('is there already') == 4 and '1 done, 4 skipped in' in out
    pictures = json.loads(Path('what.json').read_text())['pictures']
    assert [entry['status'] for entry in pictures] == ['done'] + ['skipped'] * 4
    assert set(pictures[0]['seconds']) == {'read', 'compute', 'write'} and pictures[0]['size'] == [40, 48]
    infer('-i', 'in', '--overwrite')
    assert results[1].stat().st_mtime_ns != before


def test_calibrated_with_masks_and_report(infer):
    code, out, _ = infer('-i', 'in', '--calibration', 'tiny.amsr', '--keep', '0.4', '--fp32', '--save_mask', '--report',
                         'r.html')
    assert code == 0 and 'x2: calibrated, keep 0.4, fp32' in out and '% computed' in out
    with Image.open('results/p0_out_mask.png') as mask:
        values = np.asarray(mask)
    assert values.shape == (20, 24) and set(np.unique(values)) == {0, 255}
    page = Path('r.html').read_text()
    assert page.count('type="range"') == 5 and 'http' not in page and page.count('data:image/jpeg') == 15
    cells = page.split('<td>p0.png</td>')[1].split('</tr>')[0].replace('<td>', '').split('</td>')
    assert cells[0] == '48x40' and min(map(float, cells[1:3])) > 0 and float(cells[4]) > 0 and float(cells[5]) > 20


@pytest.mark.parametrize('ending', ['png', 'jpg'])
def test_a_report_as_a_picture(infer, ending):
    code, out, _ = infer('-i', 'in', '--calibration', 'tiny.amsr', '--fp32', '--report', f'r.{ending}')
    assert code == 0 and f'report: r.{ending}' in out
    with Image.open(f'r.{ending}') as sheet:
        assert sheet.format == {'png': 'PNG', 'jpg': 'JPEG'}[ending] and sheet.width == 1200 and sheet.height > 5 * 400


def test_a_report_of_another_kind_is_refused_before_anything_is_computed(infer):
    code, _, err = infer('-i', 'in', '--report', 'r.pdf')
    assert code == 2 and err == 'basicsr: error: --report r.pdf: name a file that ends in .html, .png, .jpg.\n'
    assert not list(Path('results').iterdir())


def test_scale_suffix_and_ending(infer):
    code, _, _ = infer('-i', 'in/p1.png', '-s', '3', '--suffix', '', '--ext', 'webp', '-o', 'out')
    assert code == 0 and size('out/p1.webp') == (75, 60)


def test_an_option_file(infer):
    Path('net.yml').write_text('name: from_file\nscale: 2\nmodel_type: SRModel\nnum_gpu: 0\n'
                               'network_g: {type: AMSR, backbone: {type: EDSR, num_feat: 8, num_block: 2, upscale: 2}, '
                               'calibration: tiny.amsr, keep: 0.3}\npath: {pretrain_network_g: tiny_x2.pth}\n')
    code, out, err = infer('-i', 'in/p1.png', weights=('-opt', 'net.yml'))
    assert code == 0, err
    assert 'from_file x2: calibrated, keep 0.3' in out


def test_one_bad_file_is_reported_and_the_rest_go_on(infer):
    Path('in/p1.png').write_bytes(b'damaged')
    Path('in/p3.png').unlink()
    os.symlink('nowhere', 'in/p3.png')
    code, out, err = infer('-i', 'in', '--json', 'what.json')
    lines = [line for line in err.splitlines() if line.startswith('basicsr: error: ')]
    assert code == 2 and len(lines) == 2 and 'p1.png' in lines[0] and 'p3.png' in lines[1] and 'Traceback' not in err
    assert '3 done, 2 failed' in out and len(list(Path('results').iterdir())) == 3
    assert [entry['status'] for entry in json.loads(Path('what.json').read_text())['pictures']].count('failed') == 2


def test_two_pictures_of_one_name(infer):
    for path in list(Path('in').iterdir())[1:]:
        path.unlink()
    name = next(Path('in').iterdir())
    Image.open(name).save(name.with_suffix('.bmp'))
    assert infer('-i', 'in', '--ext', 'png', '--suffix', '')[0] == 0
    assert sorted(path.name for path in Path('results').iterdir()) == [f'{name.stem}.bmp.png', f'{name.stem}.png.png']


def test_transparency_needs_a_format_that_has_it(infer):
    rgba = np.dstack([picture(12, 9), np.full((12, 9), 100, np.uint8)])
    Image.fromarray(rgba).save('in/a.bmp')
    if Image.open('in/a.bmp').mode != 'RGBA':
        pytest.skip('this Pillow drops the alpha of BMP')
    infer('-i', 'in/a.bmp')
    assert Path('results/a_out.png').is_file()
    assert infer('-i', 'in/a.bmp')[1].count('is there already') == 1


@pytest.mark.slow
def test_a_thousand_pictures_leave_nothing_open(infer):
    for number in range(1000):
        Image.fromarray(picture(8, 8, seed=number % 7)).save(f'in/q{number:04}.png')
    assert infer('-i', 'in', '-o', 'first')[0] == 0
    before = len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task'))
    code, out, err = infer('-i', 'in', '-o', 'second')
    assert code == 0 and not err and '1005 done' in out and len(list(Path('second').iterdir())) == 1005
    assert (len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task'))) == before


@pytest.mark.slow
@pytest.mark.parametrize('flags', [(), ('--calibration', 'tiny.amsr'), ('-t', '64')])
def test_as_wide_as_a_jpeg_can_be(infer, flags):
    wide = np.repeat(picture(2, 200), 328, 1)[:, :65500]
    Image.fromarray(wide).save('wide.jpg', quality=95)
    code, out, err = infer('-i', 'wide.jpg', '-o', 'wide.png', *flags)
    assert code == 0, err
    assert size('wide.png') == (131000, 4) and '131000x4' in out
    code, _, err = infer('-i', 'wide.jpg', '-o', 'large.jpg', *flags)  # a JPEG has no room for it
    assert code == 2 and '65500' in error_line(err).replace(',', '')


def test_names_of_every_alphabet(infer):
    Path('in/p0.png').rename('in/Ünï 🦉 图.png')
    code, out, _ = infer('-i', 'in/Ünï 🦉 图.png', '-o', 'aus ß')
    assert code == 0 and Path('aus ß/Ünï 🦉 图_out.png').is_file() and 'Ünï 🦉 图_out.png' in out


def test_a_folder_that_changes_meanwhile(infer, monkeypatch):
    plain, seen = Upscaler.enlarge_picture, []

    def enlarge(self, given):
        if not seen:
            Path('in/p4.png').unlink()
            Image.fromarray(picture(9, 9)).save('in/p9.png')
        seen.append(given)
        return plain(self, given)

    monkeypatch.setattr(Upscaler, 'enlarge_picture', enlarge)
    code, out, err = infer('-i', 'in')
    assert code == 2 and 'p4.png' in error_line(err) and '4 done, 1 failed' in out


def test_a_full_disk_stops_in_one_line_and_leaves_no_half_file(infer, monkeypatch):
    plain = files.write_whole

    def write(path, data, sync=False):
        if path.name.startswith('p2'):
            with files.writing(path) as file:
                file.write(data[:100])
                raise OSError(errno.ENOSPC, 'No space left on device', str(path))
        plain(path, data, sync)

    monkeypatch.setattr(writing, 'write_whole', write)
    code, _, err = infer('-i', 'in', '--json', 'what.json')
    assert code == 2 and 'no space left on device' in error_line(err) and 'goes on from here' in err
    left = {path.name for path in Path('results').iterdir()}
    assert 'p2_out.png' not in left and {'p0_out.png', 'p1_out.png'} <= left
    assert all(size(Path('results') / name)[1] == 40 for name in left)


def test_a_folder_that_cannot_be_written_to(infer):
    Path('blocked').write_text('a file')
    assert "'blocked/deeper' cannot be made" in error_line(infer('-i', 'in', '-o', 'blocked/deeper')[2])
    if os.geteuid():
        Path('locked').mkdir(mode=0o500)
        assert 'cannot be written to' in error_line(infer('-i', 'in', '-o', 'locked')[2])


def test_what_a_killed_process_left_is_taken_away(infer):
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    Path('results').mkdir()
    (Path('results') / f'.p0_out.png.{process.pid}.part').write_bytes(b'half')
    (Path('results') / f'.p1_out.png.{os.getppid()}.part').write_bytes(b'of another that runs')
    infer('-i', 'in')
    assert [path.name for path in Path('results').glob('.*')] == [f'.p1_out.png.{os.getppid()}.part']


@pytest.mark.parametrize('sign', [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)])
def test_interrupted_or_killed_it_leaves_whole_files_only(folder, sign):
    for number in range(5, 200):
        Image.fromarray(picture(120, 120, seed=number)).save(f'in/p{number}.png')
    process = subprocess.Popen([sys.executable, '-m', 'basicsr_amsr', 'infer', '-i', 'in', '--weights', 'tiny_x2.pth',
                                '--device', 'cpu', '--dense'], stderr=subprocess.PIPE, text=True,
                               env={**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])})
    deadline = time.monotonic() + 120
    while len(list(Path('results').glob('p*'))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(sign)
    err = process.communicate(timeout=60)[1]
    if sign == signal.SIGINT:
        assert process.returncode == 130 and 'basicsr: stopped.' in err and 'Traceback' not in err
        assert not list(Path('results').glob('.*'))
    assert 2 <= len(list(Path('results').glob('p*'))) < 200
    for path in Path('results').glob('p*'):
        with Image.open(path) as image:
            image.load()


@pytest.mark.parametrize(('words', 'line'), [
    (['-i', 'absent.png'], "'absent.png' is not there"),
    (['-i', 'cache'], "'cache' is not there"),
    (['-i', 'in', '--ext', 'gif'], '--ext gif: pictures are written as auto, png'),
    (['-i', 'in/p0.png', '-o', 'in/p0.png'], 'is the picture itself'),
    (['-i', 'in', '-o', 'in', '--suffix', ''], 'is the picture itself'),
    (['-i', 'in', '--json', 'no/x.json'], 'there is no folder no'),
    (['-i', 'in', '--keep', '0.5'], 'has no calibration'),
    (['-i', 'in', '--calibration', 'tiny_x2.pth'], 'is no calibration'),
    (['-i', 'in', '-t', '7'], 'tile is 7'),
])
def test_mistakes_are_one_line(infer, words, line):
    code, _, err = infer(*words)
    assert code == 2 and line in error_line(err)


@pytest.mark.parametrize(('flag', 'line'), [
    (['-dn', '0.5'], 'leave it out'), (['--face_enhance'], 'GFPGAN'), (['--pre_pad', '10'], 'leave it out')])
def test_flags_of_real_esrgan_that_are_not_taken_over(infer, flag, line):
    code, _, err = infer('-i', 'in', *flag)
    assert code == 2 and line in error_line(err)


def test_weights_that_are_none(infer):
    class Evil:
        def __reduce__(self):
            return os.system, ('touch ran',)

    torch.save({'params': Evil()}, 'evil.pth')
    Path('cut.pth').write_bytes(Path('tiny_x2.pth').read_bytes()[:3000])
    state = torch.load('tiny_x2.pth', weights_only=True)['params']
    torch.save({'params': {key: value * float('nan') for key, value in state.items()}}, 'nan.pth')
    torch.save({'params': {'a.weight': torch.zeros(3, 3)}}, 'other.pth')
    Path('text.safetensors').write_text('no tensors')
    for file, line in (('evil.pth', 'may run code'), ('cut.pth', 'truncated, damaged'), ('nan.pth', 'not finite'),
                       ('other.pth', 'known here'), ('text.safetensors', 'damaged or in another format'),
                       ('absent.pth', "No weights 'absent.pth'")):
        code, _, err = infer('-i', 'in', weights=('--weights', file))
        assert code == 2 and line in error_line(err), file
    assert not Path('ran').exists()


def wide():
    for path in list(Path('in').iterdir()):
        Image.fromarray(picture(64, 64, seed=len(path.name))).save(path)


@needs_kernels
def test_a_long_folder_gets_a_calibration_that_is_kept(infer, monkeypatch):
    monkeypatch.setattr(fitting, 'estimate', lambda *given: fitting.Estimate(1000, 10))
    monkeypatch.setattr(fitting, 'NEAREST', 15.0)
    wide()
    code, out, _ = infer('-i', 'in')
    assert code == 0 and 'has no calibration; 1000 s for the folder as it is, about 10 s to fit' in out
    assert 'fitted to 4 of the pictures, keep 0.5: ' in out and 'on 1 others' in out
    assert 'x2: calibrated, keep 0.' in out
    monkeypatch.setattr(fitting, 'fit_to', None)
    code, out, _ = infer('-i', 'in/p0.png', '--overwrite')
    assert code == 0 and 'x2: calibrated, keep 0.' in out


@needs_kernels
def test_a_calibration_that_is_not_near_enough_is_not_tried_again(infer, monkeypatch):
    monkeypatch.setattr(fitting, 'estimate', lambda *given: fitting.Estimate(1000, 10))
    monkeypatch.setattr(fitting, 'NEAREST', 500.0)
    wide()
    assert 'x2: dense' in infer('-i', 'in')[1]
    monkeypatch.setattr(fitting, 'fit_to', None)
    code, out, _ = infer('-i', 'in', '--overwrite')
    assert code == 0 and 'came no nearer than 50 dB' in out


@needs_kernels
def test_a_short_folder_is_not_worth_a_calibration(infer):
    assert not fitting.Estimate(10, 9).pays and fitting.Estimate(100, 9).pays
    assert 'a folder long enough' in infer('-i', 'in')[1]
