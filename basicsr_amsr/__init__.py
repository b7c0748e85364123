"""basicsr_amsr: super-resolution that computes only where the image is hard.

Importing the package mends BasicSR for today's PyTorch (`compat`) and registers everything with BasicSR exactly once.
It initialises no CUDA device.
"""
from basicsr_amsr import compat

compat.apply()

from basicsr_amsr import archs, backbones, data, models, sfm  # noqa: E402, F401
from basicsr_amsr.backbones import load_pretrained, register_backbone  # noqa: E402
from basicsr_amsr.errors import UserError  # noqa: E402
from basicsr_amsr.version import __version__  # noqa: E402

__all__ = ['UserError', '__version__', 'load_pretrained', 'register_backbone']
