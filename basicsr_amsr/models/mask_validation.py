"""Validation of a mask-guided network: its masks are reported where the options ask for it."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import tensor2img

from basicsr_amsr.errors import UserError
from basicsr_amsr.mga.mask_report import CURRENT, report_mask
from basicsr_amsr.mga.network import MGA
from basicsr_amsr.models.mask_record import MaskRecord
from basicsr_amsr.training.watched import IMAGE


class MaskValidation(SRModel):
    """SRModel's validation, with `val: save_masks`, the metric calculate_mask_l1, and the order 'best'."""

    net_g: Any  # MGA, in a wrapper for several devices or not
    mask_record: MaskRecord | None = None
    image_name = ''
    validating = False

    def set_train_mode(self) -> None:
        """Put the network back into the mode in which it trains."""
        raise NotImplementedError

    def feed_data(self, data: Mapping[str, Any]) -> None:
        super().feed_data(data)
        image = IMAGE.get()
        self.image_name = image.name if image else ''

    def test(self) -> None:
        net = self.get_bare_model(getattr(self, 'net_g_ema', self.net_g)).eval()
        if not isinstance(net, MGA):
            raise UserError(f"model_type MGAModel tests network_g of type MGA, not {self.opt['network_g']['type']}: "
                            'write model_type: SRModel.')
        with torch.no_grad():
            self.output = net(self.lq, target=getattr(self, 'gt', None))
        if self.validating:
            self.report_mask(net)
        if self.is_train:
            self.set_train_mode()

    def report_mask(self, net: MGA) -> None:
        """Report the mask of the image under test where `val: save_masks` or a metric asks for it."""
        record = self.mask_record
        metrics = (self.opt.get('val') or {}).get('metrics') or {}
        wanted = record is not None or any(metric['type'] == 'calculate_mask_l1' for metric in metrics.values())
        report = report_mask(net, self.lq, getattr(self, 'gt', None)) if wanted and net.variant == 'M' else None
        CURRENT.set(report)
        if record is not None and report is not None:
            record.add(self.image_name, report, tensor2img([self.output]), net.scale * net.patch_size)

    def nondist_validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool) -> None:
        name, iteration = dataloader.dataset.opt['name'], current_iter if self.is_train else 0
        if self.opt['val'].get('save_masks'):
            folder = Path(self.opt['path']['visualization'], 'masks', *[str(iteration)] * self.is_train, name)
            self.mask_record = MaskRecord(folder, name, tb_logger, iteration)
        token = CURRENT.set(None)
        self.validating = True
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            CURRENT.reset(token)
            self.validating = False
            if self.mask_record is not None:
                self.mask_record.close()
                self.mask_record = None
