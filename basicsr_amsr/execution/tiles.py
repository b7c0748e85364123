"""Whole tiles with one halo for all of a unit's convolutions, which need not be padded then."""
from __future__ import annotations

import torch
from torch import nn

from basicsr_amsr.execution.active import Gather, pixel_rows, write
from basicsr_amsr.execution.plan import Reach, reach
from basicsr_amsr.execution.rows import Rows, unpadded


def tile_by_tile(rows: Rows, out: torch.Tensor) -> bool:
    """The unit on each tile, up to its first average: later values need all tiles.

    Values that are read after an average are left in `rows.stored`.

    Returns:
        Whether there is no average, and the output has been written.
    """
    plan, active = rows.plan, rows.active
    nodes, last = plan.unit.nodes, len(plan.unit.nodes)
    first = [value for value in range(1, last + 1) if not plan.pools[value]]
    ends = [value for value in first
            if any(value in node.inputs for later, node in enumerate(nodes, 1) if plan.pools[later])]
    target = pixel_rows(out)
    high, wide = (range(-r, active.size + r) for r in plan.halo[0])
    for number, (gather, own) in enumerate(zip(active.gathers(high, wide), active.own(), strict=True)):
        values = {0: _patches(gather.read(rows.pixels), len(high), len(wide))}
        in_image = _in_image(gather, len(high), len(wide))
        for value in first:
            node, halo = nodes[value - 1], plan.halo[value]
            looks = reach(node)
            around: Reach = (halo[0] + looks[0], halo[1] + looks[1])
            reads = [_crop(values[i], plan.halo[i], around) for i in node.inputs]
            if looks != (0, 0) and in_image is not None:
                # What lies outside the image is the convolution's padding.
                reads = [read.masked_fill(~_crop(in_image, plan.halo[0], around), 0) for read in reads]
            values[value] = unpadded(node.call, *reads) if isinstance(node.call, nn.Conv2d) else node.call(*reads)
        rows.start_chunk(active, number, own)
        for value in ends:
            rows.local[value] = pixel_rows(_crop(values[value], plan.halo[value], (0, 0)))
            rows.keep(value)
        if last in values:
            write(own, pixel_rows(values[last]).to(target.dtype), target)
    return last in first


def _patches(rows: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return rows.view(-1, height, width, rows.shape[1]).permute(0, 3, 1, 2)


def _in_image(gather: Gather, height: int, width: int) -> torch.Tensor | None:
    """Bool (tiles, 1, height, width), or None where all lies in the image."""
    if gather.outside is None:
        return None
    flags = torch.ones(len(gather.rows), 1, dtype=torch.bool, device=gather.rows.device)
    return _patches(flags.index_fill_(0, gather.outside, False), height, width)


def _crop(patches: torch.Tensor, halo: Reach, wanted: Reach) -> torch.Tensor:
    """Patches with the halo that is wanted, of those with a wider one."""
    top, left = halo[0] - wanted[0], halo[1] - wanted[1]
    return patches[:, :, top:patches.shape[2] - top, left:patches.shape[3] - left]
