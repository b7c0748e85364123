"""`basicsr freq` from option files to picture and figures."""
import json
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network

from basicsr_amsr.cli import main

NETWORK = {'type': 'FSRCNN', 'num_feat': 4, 'num_shrink': 2}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two option files of super-resolution and one of denoising, with weights, in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name, scale, network in (('a', 2, NETWORK), ('b', 2, NETWORK), ('other', 4, NETWORK),
                                 ('clean', 1, {'type': 'DnCNN', 'num_in_ch': 3, 'num_feat': 4, 'num_layer': 3})):
        built = build_network({**network, **({'upscale': scale} if scale > 1 else {})})
        torch.save({'params': built.state_dict()}, f'{name}.pth')
        options = {'name': name, 'scale': scale, 'network_g': network, 'path': {'pretrain_network_g': f'{name}.pth'}}
        (tmp_path / f'{name}.yml').write_text(yaml.safe_dump(options))


def freq(*words):
    return main(['freq', '-opt', *words, '--device', 'cpu'])


def test_two_networks_and_several_kernels(files, capsys):
    assert freq('a.yml', 'b.yml', '--blur', '0.8', '1.6', '--disk', '2', '--max-images', '2', '--bands', '20') == 0
    report = json.loads(Path('freq.json').read_text())
    names = [one['name'] for one in report['conditions']]
    assert names == ['Gaussian blur, sigma 0.8', 'Gaussian blur, sigma 1.6', 'disk, radius 2']
    assert report['networks']['a'] == {'option_file': 'a.yml', 'weights': 'a.pth'} and report['scale'] == 2
    assert len(report['images']) == 2 and len(report['conditions'][0]['power']['b']) == 20
    out = capsys.readouterr().out
    assert f'{report["conditions"][0]["psnr"]["a"]:.3f}' in out and 'freq.png' in out
    assert Path('freq.png').read_bytes().startswith(b'\x89PNG')


def test_denoising(files, capsys):
    assert freq('clean.yml', '--noise', '25', '--max-images', '1', '--out', 'noise') == 0
    report = json.loads(Path('noise.json').read_text())
    assert report['downscale'] is None and 20 < report['conditions'][0]['psnr']['input'] < 22


@pytest.mark.parametrize(('words', 'message'), [
    (['a.yml', 'other.yml'], 'networks of different scale cannot be compared: a 2, other 4'),
    (['a.yml', 'a.yml'], 'a.yml is named twice'),
    (['clean.yml'], 'name the degradations'),
    (['absent.yml'], 'absent.yml'),
    (['a.yml', '--images', 'nowhere'], "Folder 'nowhere' is not there"),
    (['a.yml', '--out', 'nowhere/x'], 'there is no folder nowhere'),
    (['a.yml', '--bands', '0'], '--bands 0'),
    (['a.yml', '--blur', '-1'], 'sigma is'),
    (['a.yml', '--jpeg', '30.5'], 'whole numbers'),
    (['a.yml', '--kernel', 'absent.npy'], 'absent.npy'),
    (['a.yml', '--degradations', '[{type: Blur}]'], "No transform named 'Blur'"),
    (['a.yml', '--degradations', '[{type: '], 'no YAML'),
    (['a.yml', '--force_yml', 'path:pretrain_network_g=none.pth'], 'none.pth does not exist'),
    (['a.yml', '--force_yml', 'path:pretrain_network_g=~'], 'pretrain_network_g is missing'),
    (['a.yml', '--force_yml', 'path:pretrain_network_g=clean.pth'], 'clean.pth'),
    (['a.yml', '--force_yml', 'network_g:type=FSRCN'], 'Did you mean FSRCNN')])
def test_mistakes_are_one_line(files, capsys, words, message):
    assert freq(*words) == 2
    err = capsys.readouterr().err
    assert message in err and err.count('\n') == 1
