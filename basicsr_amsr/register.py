"""Importing this module makes BasicSR's trainings and tests run with ours: it mends BasicSR (`patches`) and registers
every network, model, data set and transform of this package with it, exactly once."""
from basicsr_amsr import patch_table

patch_table.apply()

from basicsr_amsr import archs, backbones, models, selection, sfm  # noqa: E402, F401
from basicsr_amsr.data import datasets  # noqa: E402, F401
