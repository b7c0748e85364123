"""`basicsr list`: every name of every registry."""
import json
import subprocess
import sys
from pathlib import Path

from basicsr_amsr.backbones import register_backbone
from basicsr_amsr.registry import ARCH_REGISTRY, BACKBONE_REGISTRY, REGISTRIES
from tests.cli.conftest import error_line
from tests.mga.toy import ToyBase


def listed(basicsr, *words):
    code, out, _ = basicsr('list', None, '--json', *words)
    assert code == 0
    return json.loads(out)


def test_every_name_of_every_registry_is_listed(basicsr):
    names = [entry for entry in listed(basicsr) if entry['kind'] != 'pretrained']
    assert {(entry['kind'], entry['name']) for entry in names} == {
        (kind, name) for kind, registry in REGISTRIES.items() for name, _ in registry}
    assert len(names) > 60


def test_a_reader_that_goes_away():
    process = subprocess.Popen([sys.executable, '-m', 'basicsr_amsr', 'list', '--json'], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == '' and process.wait() == 141


def test_origins(basicsr):
    origins = {(entry['kind'], entry['name']): (entry['from'], entry['module']) for entry in listed(basicsr)
               if entry['kind'] != 'pretrained'}
    assert origins['arch', 'EDSR'] == ('BasicSR', 'basicsr.archs.edsr_arch')
    assert origins['metric', 'calculate_psnr'] == ('BasicSR', 'basicsr.metrics.psnr_ssim')
    assert origins['model', 'MGAModel'] == ('basicsr_amsr', 'basicsr_amsr.models.mga_model')


def test_backbones_say_methods_and_scales(basicsr):
    name = 'ListedBackbone'
    register_backbone(name, build=ToyBase, split=lambda **_: None, scales=(2, 3), defaults={'num_feat': 4})
    try:
        entry, = (entry for entry in listed(basicsr, 'backbone') if entry['name'] == name)
        assert entry['methods'] == ['mga'] and entry['scales'] == [2, 3]
        assert entry['from'] == 'plugin tests'
        arch, = (entry for entry in listed(basicsr, 'arch') if entry['name'] == name)
        assert arch['methods'] == ['mga'] and arch['from'] == 'plugin tests'
    finally:
        del BACKBONE_REGISTRY._obj_map[name], ARCH_REGISTRY._obj_map[name]


def test_the_table_has_one_kind_where_one_is_asked_for(basicsr):
    code, out, _ = basicsr('list', None, 'metric')
    assert code == 0
    assert 'calculate_niqe' in out and 'L1Loss' not in out


def test_weights_that_come_with_the_project(basicsr):
    found = {entry['name']: entry for entry in listed(basicsr, 'pretrained')}
    assert found['RFDN_x4']['network'] == {'type': 'RFDN', 'upscale': 4} and found['RFDN_x4']['licence'] == 'MIT'
    assert Path(found['RFDN_x4']['file']).is_file()
    assert all(entry['kind'] == 'pretrained' for entry in found.values())
    _, out, _ = basicsr('list', None, 'pretrained')
    assert 'CARN_M_x234' in out and '32.15' in out and 'RFDN_x4 (x4.7)' in out
    assert found['RFDN_x4']['calibrations'] == {'RFDN_x4': 4.7} and found['realesr-general-x4v3']['scale'] == 4


def test_an_unknown_kind_lists_the_kinds(basicsr):
    code, _, err = basicsr('list', None, 'networks')
    assert code == 2 and 'arch' in error_line(err)
