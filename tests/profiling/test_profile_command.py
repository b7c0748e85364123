"""`basicsr profile` from the command line to its table and JSON."""
import json
import re

import cv2
import numpy as np
import pytest
import yaml

from basicsr_amsr.cli import main
from basicsr_amsr.resources import resolve


@pytest.fixture
def option_file(tmp_path):
    path = tmp_path / 'file.yml'
    path.write_text(yaml.safe_dump({
        'name': 'file', 'network_g': {'type': 'MGA', 'backbone': {'type': 'FSRCNN', 'upscale': 4}, 'k': 6}}))
    return str(path)


def profile(option_file, *flags):
    return main(['profile', '-opt', option_file, '--size', '24x32', '--threads', '1', '--device', 'cpu', *flags])


def test_json_and_table_of_several_variants(option_file, tmp_path, capsys):
    assert profile(option_file, '--variant', 'M,B,A', '--budget', '0', '--json', str(tmp_path / 'p.json')) == 0
    report = json.loads((tmp_path / 'p.json').read_text())
    assert (report['variant'], report['k'], report['size'], report['output_size']) == ('M', 6, [24, 32], [96, 128])
    assert (report['device'], report['dtype'], report['threads']) == ('cpu', 'float32', 1)
    assert report['keep'] == 6 / 48
    assert list(report['variants']) == ['M', 'B', 'A', 'D'] and report['dense']['variant'] == 'D'
    m, b, a, d = report['variants'].values()
    assert all(report[key] == m[key] for key in ('params', 'macs', 'macs_paper', 'keep', 'latency_ms'))
    assert b['macs'] < m['macs'] < a['macs'] and b['params'] < d['params'] == a['params'] < m['params']
    assert report['latency_ms']['median'] > 0 and report['peak_memory_mb'] > 0
    assert m['ratios']['ideal'] == pytest.approx(d['macs'] / m['macs'])
    assert m['ratios']['efficiency'] == pytest.approx(m['ratios']['speed_up'] / m['ratios']['ideal'])
    out = capsys.readouterr()
    assert f'{m["params"]:,}' in out.out and 'D (dense)' in out.out and 'house.jpg' in out.out
    assert out.err == ''


def test_break_down_by_module_and_operator(option_file, tmp_path, capsys):
    flags = ['--no-timing', '--depth', '1', '--json', str(tmp_path / 'p.json')]
    assert profile(option_file, '--by', 'module', *flags) == 0
    out = capsys.readouterr().out
    assert 'M by module' in out and 'D by module' in out and 'MaskPrediction' in out
    report = json.loads((tmp_path / 'p.json').read_text())
    modules = report['by_module']
    assert list(modules) == ['', 'base', 'refine', 'mask']
    parts = [modules[name] for name in ('base', 'refine', 'mask')]
    for key in ('params', 'macs', 'activations', 'convolutions'):
        assert sum(part[key] for part in parts) == modules[''][key] == report[key] > 0
    assert sum(part['share']['macs'] for part in parts) == pytest.approx(1)
    assert list(report['dense']['by_module']) == ['', 'base', 'refine']
    assert profile(option_file, '--by', 'operator', *flags) == 0
    assert 'counts nothing, because' in capsys.readouterr().out
    operators = report['by_operator']
    assert sum(row['macs'] for row in operators.values()) == report['macs']
    assert sum(row['share']['activations'] for row in operators.values()) == pytest.approx(1)
    assert operators['aten::view']['why'] == 'view' and operators['aten::convolution (transposed)']['macs'] > 0


def test_other_counters_stand_beside(option_file, tmp_path, capfd):
    assert profile(option_file, '--no-timing', '--compare', 'mmengine,thop', '--json', str(tmp_path / 'p.json')) == 0
    out, err = capfd.readouterr()
    assert 'M by other counters' in out and 'thop: it counts at the output size' in out and err == ''
    report = json.loads((tmp_path / 'p.json').read_text())
    assert report['compare']['totals']['basicsr_amsr'] == report['macs']
    for figures in (report, report['dense']):  # D computes nothing that it does not return
        assert figures['compare']['kinds']['convolution']['why'] == {}


def test_images_of_a_folder_are_averaged(option_file, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, size in (('a', (24, 32)), ('b', (20, 16)), ('c', (8, 8))):
        cv2.imwrite(str(tmp_path / f'{name}.png'), rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    out = tmp_path / 'p.json'
    flags = ['-opt', option_file, '--device', 'cpu', '--images', str(tmp_path), '--json', str(out), '--budget', '0']
    assert main(['profile', *flags, '--max-images', '2']) == 0
    report = json.loads(out.read_text())
    assert [(one['name'], one['size']) for one in report['images']] == [('a.png', [24, 32]), ('b.png', [20, 16])]
    assert report['keep'] == (6 / 48 + 6 / 20) / 2 and report['size'] is None
    assert report['latency_ms']['median'] == pytest.approx(
        sum(one['latency_ms']['median'] for one in report['images']) / 2)
    assert report['ratios']['efficiency'] == pytest.approx(report['ratios']['speed_up'] / report['ratios']['ideal'])
    printed = capsys.readouterr().out
    assert '2 images' in printed and '1 of 24x32, 1 of 20x16' in printed
    assert main(['profile', *flags, '--size', '8x12', '--no-timing']) == 0
    assert json.loads(out.read_text())['size'] == [8, 12]


def test_the_bundled_photographs_are_found_from_anywhere(option_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert profile(option_file, '--images', 'demo/test', '--max-images', '2', '--no-timing') == 0
    assert '2 images' in capsys.readouterr().out


@pytest.mark.parametrize('many', [False, True])
def test_report_as_page_and_picture(option_file, tmp_path, many):
    cv2.imwrite(str(tmp_path / 'a&b.png'), np.zeros((12, 20, 3), np.uint8))
    source = ['--images', str(tmp_path)] if many else []
    assert profile(option_file, '--no-timing', '--variant', 'B,M', *source, '--report', str(tmp_path / 'r.html')) == 0
    text = (tmp_path / 'r.html').read_text()
    assert text.startswith('<!DOCTYPE html>') and 'M by module' in text and 'D (dense)' in text
    assert ('a&amp;b.png' in text) == many
    assert re.findall(r'src="(.{22})', text) == ['data:image/png;base64,'] and 'http' not in text
    assert profile(option_file, '--no-timing', '--depth', '1', *source, '--report', str(tmp_path / 'r.PNG')) == 0
    assert cv2.imread(str(tmp_path / 'r.PNG')).shape[1] == 1430
    assert not list(tmp_path.glob('*.part'))


def test_report_of_a_plain_network(option_file, tmp_path):
    assert profile(option_file, '--no-timing', '--report', str(tmp_path / 'r.png'), '--force_yml',
                   'network_g={type: FSRCNN, upscale: 2}') == 0
    assert cv2.imread(str(tmp_path / 'r.png')) is not None


def test_k_above_the_number_of_patches_takes_all(option_file, tmp_path):
    assert profile(option_file, '--k', '1000', '--no-timing', '--json', str(tmp_path / 'p.json')) == 0
    report = json.loads((tmp_path / 'p.json').read_text())
    assert report['keep'] == 1.0 and report['k'] == 1000
    assert report['latency_ms'] is None and report['ratios']['time_share'] is None


def test_meta_counts_the_same_without_arithmetic(option_file, tmp_path):
    for name, device in (('real', 'cpu'), ('meta', 'meta')):
        assert main(['profile', '-opt', option_file, '--size', '24x32', '--device', device, '--no-timing', '--json',
                     str(tmp_path / f'{name}.json')]) == 0
    real, meta = (json.loads((tmp_path / f'{name}.json').read_text()) for name in ('real', 'meta'))
    for key in ('params', 'macs', 'macs_paper', 'keep', 'output_size'):
        assert real[key] == meta[key] and real['dense'][key] == meta['dense'][key]
    assert meta['peak_memory_mb'] is None


@pytest.mark.parametrize('dtype, name', [('bf16', 'bfloat16'), ('fp16', 'float16')])
def test_dtypes(option_file, tmp_path, dtype, name):
    assert profile(option_file, '--dtype', dtype, '--no-timing', '--json', str(tmp_path / 'p.json')) == 0
    assert json.loads((tmp_path / 'p.json').read_text())['dtype'] == name


def test_the_dtype_of_the_file_unless_a_flag_says_another(option_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('basicsr_amsr.execution.precision.cpu_has_bf16', lambda: False)
    for flags, name in (([], 'bfloat16'), (['--dtype', 'fp32'], 'float32')):
        assert profile(option_file, '--no-timing', '--json', str(tmp_path / 'p.json'), *flags, '--force_yml',
                       'val:dtype=bf16') == 0
        assert json.loads((tmp_path / 'p.json').read_text())['dtype'] == name
        assert ('val: dtype: this CPU has no' in capsys.readouterr().out) == (name == 'bfloat16')


def test_the_unmodified_network_in_the_same_run(option_file, tmp_path):
    assert profile(option_file, '--variant', 'M,plain', '--no-timing', '--dtype', 'bf16', '--json',
                   str(tmp_path / 'p.json')) == 0
    plain, base = json.loads((tmp_path / 'p.json').read_text())['variants'], tmp_path / 'b.json'
    assert profile(option_file, '--variant', 'B', '--no-timing', '--json', str(base)) == 0
    # The base net of FSRCNN is the whole FSRCNN, with fewer mapping layers.
    assert json.loads(base.read_text())['macs'] < plain['plain']['macs'] < plain['D']['macs']
    assert plain['plain']['ratios']['ideal'] == plain['D']['macs'] / plain['plain']['macs']


def test_force_yml_and_a_plain_network(option_file, tmp_path, capsys):
    assert profile(option_file, '--no-timing', '--json', str(tmp_path / 'p.json'),
                   '--force_yml', 'network_g={type: FSRCNN, upscale: 2}') == 0
    report = json.loads((tmp_path / 'p.json').read_text())
    assert report['output_size'] == [48, 64] and report['keep'] == 1.0
    assert 'dense' not in report and 'ratios' not in report and report['k'] is None
    assert 'no dense network to compare it with' in capsys.readouterr().out


@pytest.mark.parametrize('flags, message', [
    (['--variant', 'X'], "--variant 'X' is unknown"),
    (['--k', '-3'], "--k '-3'"),
    (['--size', '24'], "--size '24'"),
    (['--depth', '0'], '--depth 0: give 1'),
    (['--compare', 'mmengin'], "--compare 'mmengin' is unknown. Did you mean mmengine"),
    (['--compare', 'thop', '--device', 'meta'], '--compare thop: other counters run the network'),
    (['--images', 'absent'], "Folder 'absent' is not there"),
    (['--images', 'absent', '--image', 'a.png'], '--image: not allowed with argument --images'),
    (['--images', 'absent', '--compare', 'thop'], '--compare takes one image'),
    (['--images', 'absent', '--max-images', '0'], '--max-images 0: give 1 or more'),
    (['--max-images', '3'], '--max-images 3 belongs to --images DIR'),
    (['--report', 'nowhere/r.html'], '--report nowhere/r.html: there is no folder nowhere'),
    (['--report', 'r.pdf'], '--report r.pdf: name a file that ends in .html or .png'),
    (['--report', 'r.png', '--device', 'meta'], '--report r.png: its masks need arithmetic'),
    (['--threads', '0'], 'threads is 0'),
    (['--budget', '-1'], 'budget -1.0'),
    (['--image', 'absent.png'], 'absent.png'),
    (['--json', 'nowhere/p.json'], '--json nowhere/p.json: there is no folder nowhere'),
    (['--force_yml', 'network_g:k=-2'], 'k is -2'),
    (['--force_yml', 'network_g:type=MGAA'], 'Did you mean MGA'),
    (['--force_yml', 'network_g=~'], "'network_g' is missing"),
    (['--force_yml', 'network_g={upscale: 4}'], "network_g: 'type' is missing"),
    (['--force_yml', 'network_g:chunks=3'], "network_g: MGA has no option 'chunks'. Did you mean chunk?"),
])
def test_mistakes_are_one_line(option_file, tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    assert profile(option_file, *flags) == 2
    err = capsys.readouterr().err
    assert message in err and err.count('\n') == 1


def test_a_missing_option_file_is_one_line(capsys):
    assert main(['profile', '-opt', 'absent.yml']) == 2
    assert 'absent.yml' in capsys.readouterr().err


def test_shipped_option_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve('options/mga_rfdn_x4.yml').exists()
    assert main(['profile', '-opt', 'options/mga_rfdn_x4.yml', '--device', 'meta', '--size', '64x64']) == 0
