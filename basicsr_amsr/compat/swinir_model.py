"""BasicSR's SwinIRModel for whatever network."""
from __future__ import annotations

import functools
from typing import Any

from basicsr.archs.swinir_arch import SwinIR
from basicsr.models.sr_model import SRModel
from basicsr.models.swinir_model import SwinIRModel

_test = SwinIRModel.test


@functools.wraps(_test)
def test(self: Any) -> None:
    """`SwinIRModel.test`, which pads for networks with `window_size` that do not pad themselves."""
    pads_itself = isinstance(self.get_bare_model(self.net_g), SwinIR) or 'window_size' not in self.opt['network_g']
    (SRModel.test if pads_itself else _test)(self)
