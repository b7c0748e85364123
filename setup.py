"""Packaging of basicsr_amsr. Tool settings live in pyproject.toml."""
import runpy
from pathlib import Path
from types import SimpleNamespace

from setuptools import Distribution, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
SHARED = 'share/basicsr_amsr'
NATIVE = Path('basicsr_amsr') / 'execution' / 'native'


def native_build():
    """What compiles the native kernels, without the package around it, which needs PyTorch."""
    return SimpleNamespace(**runpy.run_path(str(HERE / NATIVE / 'build.py')))


class BuildPy(build_py):
    """Compiles the native kernels too; the package works through PyTorch without them, so that no failure stops it."""

    def run(self):
        super().run()
        build = native_build()
        folder = (HERE if self.editable_mode else Path(self.build_lib)) / NATIVE / 'lib'
        try:
            if not (folder / build.library_name()).is_file():
                build.build(folder)
        except (build.BuildError, OSError) as error:
            print(f'basicsr_amsr: no native kernels: {error}')


class BinaryDistribution(Distribution):
    """One that holds a compiled library, which no extension module of setuptools stands for."""

    def has_ext_modules(self):
        return native_build().find_compiler() is not None


class PlatformWheel(bdist_wheel):
    """Tagged for the platform alone: the library is loaded with ctypes and knows no version of Python."""

    def get_tag(self):
        _, _, platform = super().get_tag()
        return 'py3', 'none', platform


def version():
    for line in (HERE / 'basicsr_amsr' / 'version.py').read_text(encoding='utf-8').splitlines():
        if line.startswith('__version__'):
            return line.split("'")[1]
    raise RuntimeError('basicsr_amsr/version.py holds no __version__')


def shared_files():
    """Option files and weights, installed under <prefix>/share so that they are found without a checkout."""
    folders: dict[str, list[str]] = {}
    for top in ('options', 'pretrained'):
        for path in sorted((HERE / top).rglob('*')):
            if path.is_file():
                inside = path.relative_to(HERE)
                folders.setdefault(f'{SHARED}/{inside.parent.as_posix()}', []).append(inside.as_posix())
    return sorted(folders.items())


SPANDREL = ['spandrel>=0.4.2']  # checkpoints of architectures that are not ours
RIVALS = ['openvino>=2025.0', 'onnxruntime>=1.20', 'onnx>=1.17', 'onnxscript>=0.5']  # of basicsr bench; export
TESTS = ['pytest>=8', 'hypothesis>=6.100', 'pytest-xdist>=3.5', *SPANDREL]

setup(
    cmdclass={'build_py': BuildPy, 'bdist_wheel': PlatformWheel},
    distclass=BinaryDistribution,
    name='basicsr_amsr',
    version=version(),
    description='Super-resolution that computes only where the image is hard: a BasicSR plugin (MGA, AMSR, SFM)',
    long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_packages(include=['basicsr_amsr', 'basicsr_amsr.*']),
    package_data={'basicsr_amsr': ['py.typed', 'assets/*/*', 'assets/*/*/*', 'execution/native/src/*']},
    data_files=shared_files(),
    install_requires=[
        'basicsr==1.4.2',
        'torch>=2.11',
        'torchvision>=0.26',
        'mmengine>=0.10',
        'numpy>=1.26',
        'opencv-python>=4.9',
        'Pillow>=10',
        'scipy>=1.11',
        'scikit-learn>=1.4',
        'thop>=0.1.1.post2209072238',
        'lmdb>=1.4',
        'filelock>=3.12',
        'safetensors>=0.4',
        'platformdirs>=4',
        'tifffile>=2023.7.10',
        'matplotlib>=3.8',
        'packaging>=22',
        'platformdirs>=3.8',
        'PyYAML>=6',
        'pydantic>=2.7',
        'tqdm>=4.66',
        'rich>=13',
    ],
    extras_require={
        'tests': TESTS,
        'dev': [*TESTS, 'ruff>=0.6', 'mypy>=1.11', 'types-PyYAML'],
        'rivals': RIVALS,
        'spandrel': SPANDREL,
        'docs': ['mkdocs>=1.6,<2', 'mkdocs-material>=9.5', 'mkdocstrings[python]>=0.27', 'ruff>=0.6'],  # signatures
    },
    entry_points={'console_scripts': ['basicsr = basicsr_amsr.cli:main']},
    classifiers=[
        'Development Status :: 3 - Alpha',
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
)
