"""CUDA graphs: what is launched for inputs of one shape is recorded once, and repeated without Python."""
from __future__ import annotations

from collections.abc import Callable

import torch

from basicsr_amsr.errors import UserError

WARM_UPS = 3  # allocator, cuDNN's choices and compilation are to be over before anything is recorded


class Graph:
    """A function of a tensor, recorded for inputs of one shape; for inference only.

    What the function launches must not depend on the values of its input: dense networks, MGA with a fixed number of
    patches, kernels with given lists. (A mask whose active patches are listed anew does: the list's length is read
    back.)

    Args:
        function: maps x to a tensor.
        x: an input on an NVIDIA GPU.

    Raises:
        UserError: x is on another device.
    """

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> None:
        if not x.is_cuda:
            raise UserError(f'CUDA graphs need an NVIDIA GPU, and x is on the {x.device.type}.')
        self.x = x.clone()
        self.graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream(x.device)
        aside.wait_stream(torch.cuda.current_stream(x.device))
        with torch.no_grad(), torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                function(self.x)
        torch.cuda.current_stream(x.device).wait_stream(aside)
        cached = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)  # what it keeps of weights dies with the caller's autocast
        try:
            with torch.no_grad(), torch.cuda.graph(self.graph):
                self.out = function(self.x)
        finally:
            torch.set_autocast_cache_enabled(cached)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The function of x, in memory that the next call writes into again.

        Raises:
            UserError: x has another shape or type than what was recorded.
        """
        if (x.shape, x.dtype) != (self.x.shape, self.x.dtype):
            raise UserError(f'x is {tuple(x.shape)} {x.dtype}, but the graph was recorded for {tuple(self.x.shape)} '
                            f'{self.x.dtype}.')
        self.x.copy_(x)
        self.replay()
        return self.out

    def replay(self) -> None:
        """Once more, for the input that is there."""
        self.graph.replay()
