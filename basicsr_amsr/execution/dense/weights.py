"""Weights of convolutions that compute what others do: of enlarged images, and transposed ones."""
from __future__ import annotations

import torch

from basicsr_amsr.execution.dense.unit_steps import Read
from basicsr_amsr.execution.transposed import phases


def enlarged_kernel(factor: int, kernel: int) -> tuple[int, int]:
    """Kernel and padding of a convolution whose channels are the phases of one of an enlarged image."""
    reach = -(-(kernel // 2) // factor)
    return 2 * reach + 1, reach


def enlarged(weight: Read, bias: Read | None, factor: int, kernel: int) -> tuple[Read, Read | None]:
    """The convolution of an image enlarged by nearest neighbours as one of the image: output pixel factor·q + i reads,
    by tap t, the pixel q + floor((i + t) / factor), so that taps on one pixel add up."""
    size, reach = enlarged_kernel(factor, kernel)
    taps = torch.zeros(factor, size, kernel)
    for i in range(factor):
        for t in range(kernel):
            taps[i, (i + t - kernel // 2) // factor + reach, t] = 1

    def read() -> torch.Tensor:
        phases = torch.einsum('ocst,iys,jxt->oijcyx', weight().float(), taps, taps)
        return phases.reshape(-1, phases.shape[3], size, size)

    return read, None if bias is None else lambda: bias().repeat_interleave(factor ** 2)


def phases_of(weight: Read, bias: Read | None, stride: int, padding: int,
            shape: torch.Size) -> tuple[Read, Read | None, int, int]:
    """A transposed convolution as one whose channels are its phases, with as many zeros before as behind."""
    _, before, after = phases(torch.empty(shape, device='meta'), stride, padding)
    reach = max(before, after)

    def read() -> torch.Tensor:
        whole, _, _ = phases(weight().float(), stride, padding)
        pads = (reach - before, reach - after) * 2
        return torch.nn.functional.pad(whole, pads)

    spread = None if bias is None else lambda: bias().repeat_interleave(stride ** 2)
    return read, spread, 2 * reach + 1, reach
