"""Installs basicsr_amsr and what it needs into the environment of the Python that runs this file.

    python install.py [--extras tests,dev] [--no-editable]

Standard library only. pip alone would do, but for BasicSR 1.4.2: it comes as source, its build wants PyTorch (which
pip would fetch a second time into an isolated build), and from Python 3.13 on its setup.py fails.
"""
import argparse
import os
import runpy
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

OLDEST = (3, 10)  # the file itself stays readable for Python 3.6, so that older ones get one line, not a syntax error
BASICSR = '1.4.2'
HERE = Path(__file__).resolve().parent

# BasicSR's setup.py calls exec(code) in a function and then reads locals()['__version__']. From Python 3.13 on (PEP
# 667) exec writes to a snapshot of the locals, which is lost. This gives exec the frame's own locals, which keep it.
SITECUSTOMIZE = '''
import builtins
import sys

_exec = builtins.exec


def exec_into_caller(code, globals=None, locals=None, **options):
    if globals is None and locals is None:
        frame = sys._getframe(1)
        globals, locals = frame.f_globals, frame.f_locals
    return _exec(code, globals, locals, **options)


builtins.exec = exec_into_caller
'''


class InstallError(Exception):
    """What stopped the installation, in one line."""


def say(text):
    print(f'install: {text}', flush=True)


def check_python(version=sys.version_info):
    """Raise InstallError where this Python is too old, has no pip, or belongs to the operating system."""
    if tuple(version[:2]) < OLDEST:
        raise InstallError(f'Python {version[0]}.{version[1]} is too old: 3.10 or later is needed ({sys.executable}).')
    if installed('pip') is None:
        raise InstallError(f'{sys.executable} has no pip: run `{sys.executable} -m ensurepip`, or make an environment '
                           'with `python -m venv`.')
    marker = os.path.join(sysconfig.get_path('stdlib'), 'EXTERNALLY-MANAGED')  # PEP 668
    if sys.prefix == sys.base_prefix and os.path.exists(marker):
        raise InstallError(f'{sys.executable} is managed by the operating system: make an environment with '
                           f'`{sys.executable} -m venv env`, then run `env/bin/python install.py`.')


def installed(package):
    """The version of an installed package, or None."""
    from importlib import metadata
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def last_error(log):
    """pip's last error line in its log, without the time stamp."""
    lines = log.read_text(encoding='utf-8', errors='replace').splitlines() if log.exists() else []
    errors = [line.split('ERROR: ', 1)[1].strip() for line in lines if 'ERROR: ' in line]
    return errors[-1] if errors else 'pip gave no reason'


def pip_install(step, arguments, environment=None):
    """Run `pip install` with its progress shown on a terminal; raise InstallError with pip's reason if it fails."""
    say(step)
    handle, name = tempfile.mkstemp(prefix='basicsr_amsr_pip_', suffix='.log')
    os.close(handle)
    quiet = [] if sys.stdout.isatty() else ['--quiet', '--progress-bar', 'off']
    command = [sys.executable, '-m', 'pip', 'install', '--disable-pip-version-check', '--log', name, *quiet, *arguments]
    if subprocess.call(command, env={**os.environ, **(environment or {})}, cwd=str(HERE)):
        raise InstallError(f'{step} failed: {last_error(Path(name))} (all of it: {name})')
    os.remove(name)


def install_torch():
    """PyTorch and torchvision, unless they are there; a torchvision that fits where PyTorch alone is."""
    torch = installed('torch')
    if torch and installed('torchvision'):
        say(f'PyTorch {torch} and torchvision {installed("torchvision")} are there')
    elif torch:
        pip_install(f'torchvision for PyTorch {torch}', ['torchvision', f'torch=={torch}'])
    else:
        pip_install('PyTorch and torchvision (some minutes, up to 3 GB)', ['torch', 'torchvision'])


def install_basicsr():
    """BasicSR, built with the packages of this environment."""
    if installed('basicsr') == BASICSR:
        say(f'BasicSR {BASICSR} is there')
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {}
        if sys.version_info >= (3, 13):
            (Path(folder) / 'sitecustomize.py').write_text(SITECUSTOMIZE, encoding='utf-8')
            environment['PYTHONPATH'] = os.pathsep.join(filter(None, [folder, os.environ.get('PYTHONPATH')]))
        pip_install(f'BasicSR {BASICSR}', ['--no-build-isolation', f'basicsr=={BASICSR}'], environment)


def install_compiler():
    """A C++ compiler for the native kernels, from pip, where the machine has none; they are optional."""
    build = runpy.run_path(str(HERE / 'basicsr_amsr' / 'execution' / 'native' / 'build.py'))
    if build['find_compiler']() is None:
        try:
            pip_install('a C++ compiler for the native kernels (ziglang)', ['ziglang'])
        except InstallError as error:
            say(f'no native kernels: {error}')


def install_this(extras, editable):
    """basicsr_amsr itself, from the folder of this file."""
    target = f'.[{extras}]' if extras else '.'
    pip_install(f'basicsr_amsr{f" with {extras}" if extras else ""}{", editable" if editable else ""}',
                ['--no-build-isolation', *(['-e'] if editable else []), target])


def check_import():
    """Import the package in a fresh process and say what is there."""
    code = ('import basicsr_amsr, basicsr, torch; print(f"basicsr_amsr {basicsr_amsr.__version__}, '
            'BasicSR {basicsr.__version__}, PyTorch {torch.__version__}, CUDA devices: {torch.cuda.device_count()}"); '
            'from basicsr_amsr.execution.native.library import library, why_not; native = library(); '
            'print(f"native kernels: {native.isa if native else why_not()}")')
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tempfile.gettempdir())
    if run.returncode:
        raise InstallError('everything is installed, but `import basicsr_amsr` fails: '
                           + (run.stderr.strip().splitlines() or ['no message'])[-1])
    say('done: ' + ', '.join(run.stdout.strip().splitlines()))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--extras', default='', metavar='NAMES', help='extras of setup.py, such as tests,dev')
    parser.add_argument('--no-editable', action='store_true', help='copy the package instead of linking to this folder')
    args = parser.parse_args(argv)
    try:
        check_python()
        say(f'Python {sys.version.split()[0]} at {sys.prefix}')
        install_torch()
        pip_install('tools for the build', ['setuptools>=70.1', 'wheel'])
        install_basicsr()
        install_compiler()
        install_this(args.extras, not args.no_editable)
        check_import()
    except InstallError as error:
        print(f'install: error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('install: stopped.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
