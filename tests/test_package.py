"""Importing the package: light, complete, and once."""
import importlib
import subprocess
import sys

import basicsr_amsr
from basicsr_amsr import resources
from basicsr_amsr.registry import REGISTRIES

PROBE = """
import sys
import torchvision  # brings Triton along by itself in some versions
before = 'triton' in sys.modules
import basicsr_amsr, torch
print(torch.cuda.is_initialized(), ('triton' in sys.modules) != before, 'sklearn' in sys.modules)
"""


def test_import_initialises_no_cuda_and_no_triton():
    run = subprocess.run([sys.executable, '-c', PROBE], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ['False', 'False', 'False']


def test_importing_twice_registers_nothing_twice():
    before = {kind: list(registry.keys()) for kind, registry in REGISTRIES.items()}
    importlib.reload(basicsr_amsr)
    assert {kind: list(registry.keys()) for kind, registry in REGISTRIES.items()} == before
    assert 'MGA' in before['arch'] and 'MGAModel' in before['model'] and 'topk' in before['selection']


def test_files_of_the_project_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resources.resolve('options/mga_rcan_x4.yml').is_file()
    assert resources.resolve('demo/train').is_dir()
    assert str(resources.resolve('no/such/file')) == 'no/such/file'


def test_the_users_own_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'options').mkdir()
    (tmp_path / 'options' / 'mga_rcan_x4.yml').write_text('name: mine')
    assert resources.resolve('options/mga_rcan_x4.yml').read_text() == 'name: mine'
