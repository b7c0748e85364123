"""Network families: one module each, with the architecture where BasicSR has none, and its adapter."""
from basicsr_amsr.backbones.spec import Backbone, get_backbone, register_backbone
from basicsr_amsr.backbones.split import MGASplit
from basicsr_amsr.discovery import import_by_suffix

__all__ = ['Backbone', 'MGASplit', 'get_backbone', 'register_backbone']

import_by_suffix(__name__, list(__path__), '_backbone')
