"""BasicSR glue: every module whose name ends with `_dataset` is imported, which registers what it holds."""
from basicsr_amsr.discovery import import_by_suffix

import_by_suffix(__name__, list(__path__), '_dataset')
