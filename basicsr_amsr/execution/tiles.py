"""Whole tiles with one halo for all of a unit's convolutions, which need not be padded then."""
from __future__ import annotations

import torch
from torch import nn

from basicsr_amsr.execution.active import Gather, pixel_rows, write
from basicsr_amsr.execution.backends.torch_backend import unpadded
from basicsr_amsr.execution.plan import Reach, reach
from basicsr_amsr.execution.rows import Rows


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
    padded = {i for value in first if reach(nodes[value - 1]) != (0, 0) for i in nodes[value - 1].inputs}
    lists = {halo: active.gathers(*(range(-r, active.size + r) for r in halo))
             for halo in {plan.halo[0], *(plan.halo[value] for value in padded)}}
    for number, own in enumerate(active.own()):
        read = lists[plan.halo[0]][number].read(rows.pixels)
        values = {0: read.view(-1, *(active.size + 2 * r for r in plan.halo[0]), read.shape[1]).permute(0, 3, 1, 2)}
        for value in [0, *first]:
            halo = plan.halo[value]
            if value:
                node = nodes[value - 1]
                around: Reach = tuple(map(sum, zip(halo, reach(node), strict=True)))  # type: ignore[assignment]
                reads = [_crop(values[i], plan.halo[i], around) for i in node.inputs]
                values[value] = unpadded(node.call, *reads) if isinstance(node.call, nn.Conv2d) else node.call(*reads)
            if value in padded:
                # What lies outside the image is a convolution's padding, and of no other use.
                values[value] = _clear(values[value], lists[halo][number])
        rows.start_chunk(active, number, own)
        for value in ends:
            rows.local[value] = pixel_rows(_crop(values[value], plan.halo[value], (0, 0)))
            rows.keep(value)
        if last in values:
            write(own, pixel_rows(values[last]).to(target.dtype), target)
    return last in first


def _clear(patches: torch.Tensor, gather: Gather) -> torch.Tensor:
    """Patches with zeros where the image ends; as a rule in place."""
    tiles, _, height, width = patches.shape
    return gather.clear(pixel_rows(patches)).view(tiles, height, width, -1).permute(0, 3, 1, 2)


def _crop(patches: torch.Tensor, halo: Reach, wanted: Reach) -> torch.Tensor:
    """Patches with the halo that is wanted, of those with a wider one."""
    top, left = halo[0] - wanted[0], halo[1] - wanted[1]
    return patches[:, :, top:patches.shape[2] - top, left:patches.shape[3] - left]
