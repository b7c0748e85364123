"""setuptools, with a C++ compiler from pip (the `ziglang` package) where the machine has none."""
import runpy
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

BUILD = Path(__file__).parent / 'basicsr_amsr' / 'execution' / 'native' / 'build.py'


def _compiler():
    return [] if runpy.run_path(str(BUILD))['find_compiler']() else ['ziglang']


def get_requires_for_build_wheel(config_settings=None):
    return build_meta.get_requires_for_build_wheel(config_settings) + _compiler()


def get_requires_for_build_editable(config_settings=None):
    return build_meta.get_requires_for_build_editable(config_settings) + _compiler()
