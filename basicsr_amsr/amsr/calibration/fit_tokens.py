"""Least squares for the predictions of skipped tokens of window transformers."""
from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from basicsr_amsr.amsr.calibration.calibrated_tokens import cells_of
from basicsr_amsr.amsr.calibration.fit import EXCESS, RIDGE, Normal, surroundings, with_one
from basicsr_amsr.backbones.tokens import TokenFamily
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.tokens.cells import Cells
from basicsr_amsr.execution.tokens.whole_maps import Moments, Reference, summary
from basicsr_amsr.execution.torch_sparse.prediction import Prediction, rectified


class Fits:
    """Normal equations of all reads of a network.

    Attributes:
        kinds: of each read, in order.
    """

    def __init__(self) -> None:
        self.normal = {kind: Normal() for kind in ('token', 'cell', 'sum', 'image')}
        self.kinds: dict[int, str] = {}
        self.scale = 1

    def prediction(self, channels: int, width: int) -> Prediction:
        """The prediction that fits what was added up, for images of so many channels and anchors of `width`."""
        contexts = {number: self.normal[kind].narrowed(number, RIDGE, 1, EXCESS)
                    for number, kind in sorted(self.kinds.items())}
        image = self.normal['image']
        return Prediction(contexts, image.light_tail(width, channels, self.scale) if 0 in image.target else None)


class Recorder(Reference):
    """A dense pass that adds to fits what skipped tokens hold."""

    def __init__(self, x: torch.Tensor, cells: Cells, fits: Fits) -> None:
        super().__init__(x)
        self.cells, self.fits, self.skipped = cells, fits, ~cells.mask.flatten()

    def start(self, anchor: torch.Tensor) -> None:
        super().start(anchor)
        tokens = self._tokens(anchor)
        self.rows = {
            'token': with_one(rectified(tokens[0][self.skipped])),
            'cell': with_one(rectified(self._means(tokens))),
            'sum': with_one(self._means(self._tokens(summary(anchor)))),
            'image': torch.cat([with_one(tokens[0]), self._tokens(surroundings(self.x))[0]], 1)[self.skipped]}
        self.rows = {kind: rows.double() for kind, rows in self.rows.items()}
        for kind, rows in self.rows.items():
            self.fits.normal[kind].features(rows)

    def _means(self, tokens: torch.Tensor) -> torch.Tensor:
        assert self.cells is not None
        return self.cells.merged(tokens)

    def _recorded(self, kind: str, number: int, value: torch.Tensor, heads: int = 0) -> torch.Tensor:
        assert self.cells is not None
        if kind == 'moments':
            value = self._products(value, heads)
        of = 'sum' if kind == 'moments' else kind
        if kind != 'image':
            self.fits.kinds[number] = of
        seen = value[0][self.skipped] if kind in ('token', 'image') else self._means(value)
        self.fits.normal[of].values(number, self.rows[of], seen.double())
        return value

    @staticmethod
    def _products(value: torch.Tensor, heads: int) -> torch.Tensor:
        """Moments of each single token (1, n, heads · c² + 2 C), from queries and keys side by side (1, n, 2 C)."""
        q, k = value.transpose(0, 1).chunk(2, 2)
        return Moments.of(q, k, heads).flat()[None]

    def picture(self, value: torch.Tensor, scale: int) -> torch.Tensor:
        self.fits.scale = scale
        return super().picture(value, scale)


@torch.no_grad()
def fit_tokens(family: TokenFamily, net: nn.Module, images: Iterable[torch.Tensor],
               patches: Callable[[torch.Tensor], torch.Tensor], size: int) -> Prediction:
    """Fit what skipped tokens get to what the dense network has there.

    Args:
        family, net: the network.
        images: LR images (1, C, H, W) in 0–1; no ground truth is needed.
        patches: gives the active patches, bool (1, ⌈H/size⌉, ⌈W/size⌉), of an image.
        size: side of the patches.

    Raises:
        UserError: too few tokens were skipped.
    """
    fits = Fits()
    for image in images:
        padded = family.pad(net, image)
        recorder = Recorder(padded, cells_of(family, patches(image), size, image, padded), fits)
        family.forward(net, padded, recorder)
    count = {kind: fits.normal[kind].count / max(len(fits.normal[kind].gram), 1)  # type: ignore[arg-type]
             for kind in ('token', 'cell', 'sum')}
    if count['token'] < 10 or min(count['cell'], count['sum']) < 2:
        raise UserError(f'{fits.normal["token"].count} tokens of the images are skipped, too few to fit to: give more '
                        'or larger images, or a smaller keep.')
    return fits.prediction(image.shape[1], recorder.anchor.shape[1])
