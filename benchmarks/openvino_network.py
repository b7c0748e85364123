"""A network computed by OpenVINO, as a module: what benchmarks put beside ours."""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from basicsr_amsr.execution.openvino import Session, openvino_graph

FREE_EXAMPLE = 64  # pixels of a side that is free


class OpenVINONetwork(nn.Module):
    """A network's graph in OpenVINO, of torch's threads.

    Args:
        size: height and width of the graph; smaller images are continued to it. None: a graph for images of any size.
    """

    def __init__(self, net: nn.Module, channels: int, size: tuple[int, int] | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.size = size
        example = torch.rand(1, channels, *(size or (FREE_EXAMPLE, FREE_EXAMPLE)))
        graph = openvino_graph(net, example, (1, channels, *(size or (-1, -1))))
        self.session = Session(graph, dtype, torch.get_num_threads())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        if self.size is not None:  # tiles are cut at the picture's edge
            x = F.pad(x, (0, self.size[1] - width, 0, self.size[0] - height), mode='replicate')
        image = torch.from_numpy(self.session(x.contiguous().numpy()).copy())
        scale = image.shape[-1] // x.shape[-1]
        return image[..., :height * scale, :width * scale]
