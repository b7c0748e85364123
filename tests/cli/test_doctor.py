"""`basicsr doctor`: what is there, what works, and a line for each problem."""
import json
import os

import pytest
import torch

from basicsr_amsr import patch_table, plugins
from basicsr_amsr.cli import doctor
from basicsr_amsr.registry import ARCH_REGISTRY, REGISTRIES


def diagnosed(basicsr):
    code, out, _ = basicsr('doctor', None, '--json')
    return code, json.loads(out)


def test_a_sound_machine_has_no_problems(basicsr, project):
    code, report = diagnosed(basicsr)
    assert report['problems'] == [] and code == 0
    assert report['versions']['basicsr'] == '1.4.2' and torch.__version__.startswith(report['versions']['torch'])
    assert {patch['name'] for patch in report['patches']} == {patch.name for patch in patch_table.PATCHES}
    assert all(patch['outcome'] for patch in report['patches'])
    assert report['registries'] == {kind: len(registry.keys()) for kind, registry in REGISTRIES.items()}
    assert report['folder'] == {'path': str(project), 'writable': True, 'free_gib': report['folder']['free_gib']}
    assert report['self_test'][0]['device'] == 'cpu' and report['self_test'][0]['works']


def test_tables_for_people(basicsr):
    code, out, _ = basicsr('doctor', None)
    assert code == 0
    assert 'No problems found.' in out and 'torch threads' in out and 'Registry.get' in out


@pytest.mark.parametrize('installed', [None, '2026.4.1'])
def test_it_says_whether_auto_may_take_openvino(basicsr, monkeypatch, installed):
    monkeypatch.setattr(doctor, 'openvino_version', lambda: installed)
    assert diagnosed(basicsr)[1]['openvino'] == installed
    _, out, _ = basicsr('doctor', None)
    assert ('measured to be faster' if installed else 'pip install openvino') in ' '.join(out.split())


def test_a_wrong_version_and_a_missing_package_are_problems(basicsr, monkeypatch):
    monkeypatch.setattr(doctor, 'requires', lambda _: ['torch>=99', 'no-such-package>=1', 'onnx; extra == "export"'])
    code, report = diagnosed(basicsr)
    assert code == 1
    torch_line, missing_line = report['problems'][:2]
    assert 'torch>=99 is needed' in torch_line and 'docs/install.md' in torch_line
    assert 'no-such-package is not installed' in missing_line
    assert not any('onnx' in line for line in report['problems'])


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write everywhere')
def test_a_folder_that_cannot_be_written_is_a_problem(basicsr, project):
    project.chmod(0o500)
    try:
        code, report = diagnosed(basicsr)
    finally:
        project.chmod(0o700)
    assert code == 1 and any(str(project) in line for line in report['problems'])


def test_a_refused_write_is_a_problem(basicsr, monkeypatch):
    def refuse(**_):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(doctor.tempfile, 'TemporaryFile', refuse)
    code, report = diagnosed(basicsr)
    assert code == 1 and 'Permission denied' in report['problems'][0] and report['folder']['writable'] is False


def test_a_device_that_computes_nonsense_is_a_problem(basicsr, monkeypatch):
    class Flaky(torch.nn.Conv2d):
        calls = 0

        def __init__(self, **_):
            super().__init__(3, 3, 1)

        def forward(self, x):
            Flaky.calls += 1
            return super().forward(x) + Flaky.calls

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'MSRResNet', Flaky)
    code, report = diagnosed(basicsr)
    assert code == 1 and 'differs from the CPU' in report['problems'][0]


def test_a_failing_plugin_is_a_problem(basicsr, monkeypatch):
    failed = plugins.Plugin('broken', 'package broken', 'the plugin of package broken (broken) does not load: X')
    monkeypatch.setitem(plugins._installed, 'broken', failed)
    code, report = diagnosed(basicsr)
    assert code == 1 and report['problems'] == [f'{failed.problem}. Mend or uninstall it.']
