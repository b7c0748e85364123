"""BasicSR glue: every module whose name ends with `_dataset` is imported, which registers what it holds."""
from basicsr_amsr.data import degradations
from basicsr_amsr.discovery import import_by_suffix

__all__ = ['degradations']  # registers its transforms

import_by_suffix(__name__, list(__path__), '_dataset')
