"""BasicSR's SwinIRModel for whatever network."""
from __future__ import annotations

from basicsr.archs.swinir_arch import SwinIR
from basicsr.models.sr_model import SRModel
from basicsr.models.swinir_model import SwinIRModel

from basicsr_amsr.training.trained_model import TrainedModel


class SwinIRAnyNetwork(SwinIRModel, TrainedModel):
    """BasicSR's SwinIRModel, which pads for networks with `window_size` that do not pad themselves."""

    def test(self) -> None:
        pads_itself = isinstance(self.get_bare_model(self.net_g), SwinIR) or 'window_size' not in self.opt['network_g']
        (SRModel if pads_itself else SwinIRModel).test(self)
