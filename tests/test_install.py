"""install.py: what stops it is one line, and BasicSR's way of reading its version works with its sitecustomize."""
from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest


@pytest.fixture
def install(repository):
    spec = importlib.util.spec_from_file_location('install', repository / 'install.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('by_hand', [False, True])
def test_exec_in_a_function_fills_its_locals(install, repository, tmp_path, by_hand):
    page = (repository / 'docs' / 'install.md').read_text(encoding='utf-8')
    mending = page.split("<<'PY'\n")[1].split('\nPY\n')[0] if by_hand else install.SITECUSTOMIZE
    (tmp_path / 'sitecustomize.py').write_text(mending, encoding='utf-8')
    code = textwrap.dedent("""
        def version(text):
            exec(compile(text, 'version.py', 'exec'))
            return locals()['__version__']

        def given(text):
            names = {}
            exec(text, names)
            exec(text, {}, names)
            return names['__version__']

        assert version("__version__ = '1.4.2'") == given("__version__ = '1.4.2'") == '1.4.2'
        exec('top = 3')
        assert top == 3
    """)
    run = subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': str(tmp_path)},
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize('version', [(2, 7, 18), (3, 6, 15), (3, 9, 18)])
def test_an_old_python_is_one_line(install, version):
    with pytest.raises(install.InstallError, match='too old'):
        install.check_python(version)


@pytest.mark.parametrize('version', [(3, 10, 0), (3, 13, 2), (4, 0, 0)])
def test_a_new_python_will_do(install, version):
    install.check_python(version)


def test_no_pip(install, monkeypatch):
    monkeypatch.setattr(install, 'installed', lambda package: None)
    with pytest.raises(install.InstallError, match='ensurepip'):
        install.check_python()


def test_the_systems_python_is_left_alone(install, monkeypatch, tmp_path):
    (tmp_path / 'EXTERNALLY-MANAGED').touch()
    monkeypatch.setattr(install.sysconfig, 'get_path', lambda name: str(tmp_path))
    system = SimpleNamespace(prefix='/usr', base_prefix='/usr', executable='/usr/bin/python3')
    monkeypatch.setattr(install, 'sys', system)
    with pytest.raises(install.InstallError, match='-m venv env'):
        install.check_python((3, 12))


def test_a_failing_step_is_one_line_with_pips_reason(install, monkeypatch, capsys):
    nothing = ['--no-index', '--no-deps', 'basicsr-amsr-no-such-package']
    monkeypatch.setattr(install, 'install_torch', lambda: install.pip_install('A step', nothing))
    assert install.main([]) == 1
    line, = capsys.readouterr().err.splitlines()[-1:]
    assert line.startswith('install: error: A step failed: No matching distribution found for basicsr-amsr-no-such')


@pytest.mark.parametrize(('there', 'expected'), [
    ({}, ['torch', 'torchvision']), ({'torch': '2.11.0'}, ['torchvision', 'torch==2.11.0']),
    ({'torch': '2.11.0', 'torchvision': '0.26.0'}, None)])
def test_pytorch_that_is_there_stays(install, monkeypatch, there, expected):
    calls = []
    monkeypatch.setattr(install, 'installed', there.get)
    monkeypatch.setattr(install, 'pip_install', lambda step, arguments: calls.append(arguments))
    install.install_torch()
    assert calls == ([expected] if expected else [])
