"""BasicSR glue: imports every module of this folder whose name ends with `_dataset`, which registers what it holds."""
from basicsr_amsr import data
from basicsr_amsr.data import degradations
from basicsr_amsr.discovery import import_by_suffix

__all__ = ['degradations']  # registers its transforms

import_by_suffix(data.__name__, list(data.__path__), '_dataset')
