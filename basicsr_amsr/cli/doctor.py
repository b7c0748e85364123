"""`basicsr doctor`: whether the installation and the machine can do the work, and what to do where they cannot."""
from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import tempfile
import time
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import basicsr
import cv2
import torch
from packaging.requirements import Requirement
from rich.table import Table

import basicsr_amsr.register  # noqa: F401  # mends BasicSR and registers what there is
from basicsr_amsr import allocator, patch_table, plugins
from basicsr_amsr.cli.metrics_report import print_json, show
from basicsr_amsr.compat.patching import OUTCOMES
from basicsr_amsr.execution.native.self_test import examine_native
from basicsr_amsr.execution.openvino import openvino_version
from basicsr_amsr.registry import ARCH_REGISTRY, REGISTRIES

INSTALL = 'see docs/install.md'
OPENVINO_USE = {True: 'where a network is not whole in native kernels and it is measured to be faster',
                False: 'no: pip install openvino, which runs some window transformers faster'}
TOLERANCE = 1e-2  # of outputs of about 1: reduced precision (TF32) passes, a broken kernel does not


def run(args: argparse.Namespace) -> int:
    """Examine and print; returns 1 where there is a problem, else 0."""
    report = examine()
    if args.json:
        print_json(report)
    else:
        show(*_tables(report))
        show(*(f'problem: {line}' for line in report['problems']) if report['problems'] else ['No problems found.'])
    return 1 if report['problems'] else 0


def examine() -> dict[str, Any]:
    """What is installed, what the machine has, what works; `problems` are lines that say what to do."""
    problems: list[str] = []
    plugins.load_installed()
    return {
        'versions': _versions(problems),
        'machine': _machine(problems),
        'patches': [{'name': patch.name, 'outcome': OUTCOMES[patch.name], 'reason': patch.reason}
                    for patch in patch_table.PATCHES],
        'registries': {kind: len(registry.keys()) for kind, registry in REGISTRIES.items()},
        'plugins': _plugins(problems),
        'folder': _folder(problems),
        'native': examine_native(problems),
        'openvino': openvino_version(),
        'self_test': [_self_test(device, problems) for device in _devices()],
        'problems': problems,
    }


def _versions(problems: list[str]) -> dict[str, str]:
    found = {'python': platform.python_version(), 'basicsr_amsr': version('basicsr_amsr')}
    for requirement in map(Requirement, requires('basicsr_amsr') or []):
        if requirement.marker is not None and not requirement.marker.evaluate({'extra': ''}):
            continue
        try:
            found[requirement.name] = version(requirement.name)
        except PackageNotFoundError:
            if requirement.name == 'opencv-python':  # the headless and contrib builds do as well
                found[requirement.name] = cv2.__version__
                continue
            problems.append(f'{requirement.name} is not installed; {requirement} is needed: {INSTALL}.')
            continue
        if not requirement.specifier.contains(found[requirement.name], prereleases=True):
            problems.append(f'{requirement.name} {found[requirement.name]} is installed; {requirement} is needed: '
                            f'{INSTALL}.')
    if basicsr.__version__ != found.get('basicsr'):
        problems.append(f'Python imports another BasicSR ({basicsr.__version__}, {os.path.dirname(basicsr.__file__)}) '
                        'than the one installed: start from a folder that has no folder named basicsr.')
    return found


def _machine(problems: list[str]) -> dict[str, Any]:
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    if not torch.cuda.is_available() and _driver_sees_a_gpu():
        built = f'for CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'
        problems.append(f'An NVIDIA GPU is there, but torch {torch.__version__} (built {built}) cannot use it: install '
                        'a build that fits the driver, https://pytorch.org/get-started/locally.')
    return {
        'system': platform.platform(),
        'cpu cores': os.cpu_count(),
        'torch threads': torch.get_num_threads(),
        'memory allocator': allocator.state(),
        'torch built for CUDA': torch.version.cuda,
        'cuDNN': torch.backends.cudnn.version() if gpus else None,
        'GPUs': [{'name': gpu.name, 'memory_gib': round(gpu.total_memory / 2**30, 1),
                  'capability': f'{gpu.major}.{gpu.minor}'} for gpu in gpus],
    }


def _driver_sees_a_gpu() -> bool:
    if shutil.which('nvidia-smi') is None:
        return False
    try:
        run = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return run.returncode == 0 and 'GPU ' in run.stdout


def _plugins(problems: list[str]) -> list[dict[str, str]]:
    for plugin in plugins.loaded():
        if plugin.problem:
            problems.append(f'{plugin.problem}. Mend or uninstall it.')
    return [{'module': plugin.module, 'source': plugin.source, 'problem': plugin.problem}
            for plugin in plugins.loaded()]


def _folder(problems: list[str]) -> dict[str, Any]:
    folder = os.getcwd()
    try:
        with tempfile.TemporaryFile(dir=folder):
            writable = True
    except OSError as error:
        writable = False
        problems.append(f'Results go to the current folder, but {folder} cannot be written ({error.strerror}): change '
                        'to another.')
    return {'path': folder, 'writable': writable, 'free_gib': round(shutil.disk_usage(folder).free / 2**30, 1)}


def _devices() -> list[str]:
    gpus = [f'cuda:{i}' for i in range(torch.cuda.device_count())]
    return ['cpu', *gpus, *(['mps'] if torch.backends.mps.is_available() else [])]


def _self_test(device: str, problems: list[str]) -> dict[str, Any]:
    """A small network on the device, against the same on the CPU."""
    torch.manual_seed(0)
    network = ARCH_REGISTRY.get('MSRResNet')(num_feat=16, num_block=2, upscale=4).eval()
    image = torch.rand(1, 3, 32, 32)
    result: dict[str, Any] = {'device': device, 'works': False, 'milliseconds': None}
    try:
        with torch.no_grad():
            expected = network(image)
            network.to(device)
            output = network(image.to(device)).cpu()
            start = time.perf_counter()
            network(image.to(device)).cpu()
            result['milliseconds'] = round(1000 * (time.perf_counter() - start), 1)
    except Exception as error:  # whatever a device or its driver raises is the finding
        problems.append(f'A small network fails on {device}: {" ".join(str(error).split())[:200]}')
        return result
    difference = (output - expected).abs().max().item()
    result['works'] = difference < TOLERANCE
    if not result['works']:
        problems.append(f'A small network on {device} differs from the CPU by {difference:.3g}: check driver and torch '
                        'build.')
    return result


def _tables(report: dict[str, Any]) -> list[Table]:
    """The report as tables, in the order of the report."""
    machine = {key: value for key, value in report['machine'].items() if key != 'GPUs'}
    gpus = {f'GPU {i}': f'{gpu["name"]}, {gpu["memory_gib"]} GiB, capability {gpu["capability"]}'
            for i, gpu in enumerate(report['machine']['GPUs'])}
    folder = report['folder']
    machine['current folder'] = f'{folder["path"]} ({folder["free_gib"]} GiB free)'
    tests = {f'self-test on {test["device"]}': f'{test["milliseconds"]} ms' if test['works'] else 'fails'
             for test in report['self_test']}
    found = [_table('Versions', report['versions']),
             _table('Machine', {**machine, **gpus, **tests}),
             _table('Native kernels (docs/install.md)', report['native']),
             _table('OpenVINO (docs/dense.md)', {'installed': report['openvino'], 'in use': OPENVINO_USE[
                 report['openvino'] is not None]}),
             _table('Registries', report['registries']),
             _table('What BasicSR 1.4.2 needs here (docs/compat.md)',
                    {patch['name']: f'{patch["outcome"]}: {patch["reason"]}' for patch in report['patches']})]
    if report['plugins']:
        found.append(_table('Plugins', {plugin['module']: plugin['source'] for plugin in report['plugins']}))
    return found


def _table(title: str, rows: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify='left', show_header=False)
    table.add_column(overflow='fold')
    table.add_column(overflow='fold')
    for key, value in rows.items():
        table.add_row(key, 'none' if value is None else str(value))
    return table
