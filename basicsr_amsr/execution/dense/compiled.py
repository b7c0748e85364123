"""A network compiled by OpenVINO, anew for each size, as long as its weights are those of the compiled graph."""
from __future__ import annotations

import threading
from typing import Any

import torch
from torch import nn

from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.dense.form import images_of, precision_of
from basicsr_amsr.execution.dense.watch import Modules, checksum
from basicsr_amsr.execution.graph.trace import Forward, Wrapped
from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.openvino import Session, openvino_graph
from basicsr_amsr.execution.precision import undisturbed

MOST = 3  # sizes; each holds a copy of the weights, and maps
TOLERANCE = {'float32': 1e-3, 'bfloat16': 0.1}  # of the root mean square; more is another picture


class Compiled:
    """Copies and pickles start anew.

    Args:
        forward: called as `forward(net, x)` in place of `net(x)`.
    """

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self._sessions: dict[Any, Session] = {}  # the last used one last
        self._modules: Modules | None = None
        self._weights: Any = None
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._sessions)

    def has(self, net: nn.Module, x: torch.Tensor) -> bool:
        """Whether images of the size of x (B, C, H, W) can run at once."""
        with self._lock:
            self._follow(net)
            return _key(x) in self._sessions

    def prepare(self, net: nn.Module, x: torch.Tensor, picture: torch.Tensor) -> None:
        """Convert and compile, for images of the size of x.

        Args:
            picture: the network's of x, by another engine in the same number format.

        Raises:
            UserError: it gives another picture, as of a network whose course depends on what the image holds.
            Exception: whatever OpenVINO raises where it lacks an operator, or memory.
        """
        precision, key = precision_of(x), _key(x)
        with self._lock, undisturbed():
            self._follow(net)
            image = images_of(x)[0].contiguous()
            session = Session(openvino_graph(Wrapped(net, self.forward).eval(), image), getattr(torch, precision),
                              torch.get_num_threads())
            difference = _run(session, x) - picture.float()
            error = float(difference.square().mean().sqrt() / picture.float().square().mean().sqrt().clamp_min(1e-12))
            if not error < TOLERANCE[precision]:
                raise UserError(f'its picture differs by {error:.2g}')
            while len(self._sessions) >= MOST:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[key] = session

    def image(self, net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """The network's images of x, for whose size it `has` one."""
        key = _key(x)
        with self._lock, undisturbed():
            session = self._sessions.pop(key)
            self._sessions[key] = session
            return _run(session, x).to(x.dtype)

    def drop(self) -> None:
        """Give back what is compiled."""
        with self._lock:
            self._sessions.clear()

    def modules_of(self, net: nn.Module) -> Modules:
        """The network's modules, found anew where they are not those of before."""
        if self._modules is None or not self._modules.are_of(net):
            self._modules, self._weights = Modules(net), None
        return self._modules

    def _follow(self, net: nn.Module) -> None:
        """Drop what was compiled of other modules or weights."""
        self.modules_of(net)
        tensors = [*net.parameters(), *net.buffers()]
        weights = checksum(tensors, library()), [(tensor.shape, tensor.dtype) for tensor in tensors]
        if weights != self._weights:
            self._sessions.clear()
            self._weights = weights

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, (self.forward,)


def _key(x: torch.Tensor) -> Any:
    return tuple(x.shape[1:]), precision_of(x), torch.get_num_threads()


def _run(session: Session, x: torch.Tensor) -> torch.Tensor:
    made = [torch.from_numpy(session(image.contiguous().numpy())).clone() for image in images_of(x)]
    return torch.cat(made) if len(made) > 1 else made[0]
