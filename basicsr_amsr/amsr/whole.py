"""Which engine computes a network as a whole on a CPU: the native kernels, torch, or OpenVINO where it is installed."""
from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from basicsr_amsr.amsr.calibration.calibrated_network import goes_native
from basicsr_amsr.amsr.identity import whole_subject
from basicsr_amsr.execution.cost import model
from basicsr_amsr.execution.cost.whole_costs import Engine, WholeCosts, measure_whole
from basicsr_amsr.execution.dense.compiled import Compiled
from basicsr_amsr.execution.dense.form import DenseForm, precision_of, runs_here
from basicsr_amsr.execution.openvino import openvino_version
from basicsr_amsr.execution.torch_sparse.read_network import plain_forward
from basicsr_amsr.reasons import is_out_of_memory, reason

PATIENCE = 15.0  # seconds of passes of one size, about as long as OpenVINO takes to be tried
log = logging.getLogger('basicsr')


@dataclass
class Account:
    """Whether to prepare OpenVINO for images of one size: what is known, and the seconds that speak for it.

    Attributes:
        open: whether there is a choice of engines.
        spent: seconds of their passes so far, while OpenVINO has not been timed.
        lost: seconds that OpenVINO would have saved so far.
        no_memory: whether OpenVINO ran out of memory at this size.
    """

    open: bool
    spent: float = 0.0
    lost: float = 0.0
    no_memory: bool = False


class Whole:
    """Chooses by measured costs, see docs/dense.md. Copies and pickles start anew."""

    def __init__(self) -> None:
        self.compiled = Compiled(plain_forward)
        self._accounts: dict[Any, Account] = {}
        self._failed = False
        self._lock = threading.RLock()

    def image(self, net: Any, x: torch.Tensor) -> torch.Tensor | None:
        """The network's images of x, or None where its own forward has to run."""
        account = self._account(net, x)
        if account is None:
            return by_kernels(net, x)
        with self._lock:
            picture = self._compiled_image(net, x) if self.is_faster(net, x) else None
            if picture is not None:
                return picture
            costs = model.MODEL.find(whole_subject(net), x, WholeCosts)
            if costs is not None and costs.own == 'torch':
                return by_torch(net, x)
            began = time.perf_counter()
            picture = by_kernels(net, x)
            if picture is None:
                picture = by_torch(net, x)
            account.spent += time.perf_counter() - began
            return picture

    def is_faster(self, net: Any, x: torch.Tensor, best: float | None = None) -> bool:
        """Whether OpenVINO is ready and faster for images x.

        It is timed once the passes so far have taken as long as timing it will, and prepared once it would have saved
        as many seconds as preparing it costs.

        Args:
            best: seconds of the form that would run else; None: of the network as a whole.
        """
        with self._lock:
            account = self._account(net, x)
            if account is None or self._failed or account.no_memory or openvino_version() is None:
                return False
            if net.amsr.backend == 'openvino':
                return self._prepare(net, x)
            costs = model.MODEL.find(whole_subject(net), x, WholeCosts)
            if costs is None:
                account.spent += best or 0.0
                if account.spent < PATIENCE:
                    return False
                costs = self._try(net, x)
                return costs.saving(model.area_of(x), best) > 0 and self.compiled.has(net, x)
            saving = costs.saving(model.area_of(x), best)
            if not saving or self.compiled.has(net, x):
                return saving > 0
            account.lost += saving
            return account.lost >= costs.prepare and self._prepare(net, x)

    def settle(self, net: Any, x: torch.Tensor) -> None:
        """Time the engines now, and prepare OpenVINO where it is the fastest."""
        with self._lock:
            account = self._account(net, x)
            if account is None or account.no_memory:
                return
            costs = model.MODEL.find(whole_subject(net), x, WholeCosts) or self._try(net, x)
            if costs.saving(model.area_of(x)):
                self._prepare(net, x)

    def _account(self, net: Any, x: torch.Tensor) -> Account | None:
        """The account of images like x; None where there is nothing to choose, or time must not choose."""
        key = _key(x)
        known = self._accounts.get(key)
        if known is not None and not known.open:
            return None
        named = net.amsr.backend == 'openvino'
        if x.dtype != torch.float32 or getattr(net, '_is_replica', False) or not (
                named or (net.amsr.backend == 'auto' and model.decides(x))):
            return None
        if not runs_here(self.compiled.modules_of(net), x):
            return None
        if known is None:
            own = kernels_of(net, x)
            sole = own.is_whole(net, x) if isinstance(own, DenseForm) else own is None and openvino_version() is None
            known = self._accounts[key] = Account(open=named or not sole)
        return known if known.open else None

    def _try(self, net: Any, x: torch.Tensor) -> WholeCosts:
        """Measure the engines, and keep what is found."""
        forms: dict[Engine, Callable[[], Any]] = {'torch': lambda: by_torch(net, x)}
        if by_kernels(net, x) is not None:
            forms['native'] = lambda: by_kernels(net, x)
        began = time.perf_counter()
        if openvino_version() is not None and self._prepare(net, x):
            forms['openvino'] = lambda: self.compiled.image(net, x)
        costs = measure_whole(forms, model.area_of(x), time.perf_counter() - began)
        subject = whole_subject(net)
        if not self._accounts[_key(x)].no_memory:
            model.MODEL.keep(subject, x, costs)
        faster = costs.saving(model.area_of(x)) > 0
        found = [(name, getattr(costs, name)) for name in ('native', 'torch', 'openvino')]
        log.info('%s on %s, %s, microseconds a pixel: %s; %s runs it.', subject.name, model.machine(x),
                 'x'.join(map(str, x.shape)), ', '.join(f'{name} {each * 1e6:.3g}' for name, each in found if each),
                 'openvino' if faster else costs.own)
        if not faster:
            self.compiled.drop()
        return costs

    def _prepare(self, net: Any, x: torch.Tensor) -> bool:
        """Whether OpenVINO is ready for images of the size of x."""
        if self._failed or self._accounts[_key(x)].no_memory:
            return False
        if self.compiled.has(net, x):
            return True
        began, name = time.perf_counter(), net.plain_class.__name__
        try:
            picture = by_kernels(net, x)
            self.compiled.prepare(net, x, by_torch(net, x) if picture is None else picture)
        except Exception as error:  # whatever the engine raises: there are others
            self._fail(name, x, error)
            return False
        log.info('%s: OpenVINO is ready for %dx%d after %.1f s.', name, *x.shape[-2:], time.perf_counter() - began)
        return True

    def _compiled_image(self, net: Any, x: torch.Tensor) -> torch.Tensor | None:
        try:
            return self.compiled.image(net, x)
        except Exception as error:
            self._fail(net.plain_class.__name__, x, error)
            return None

    def _fail(self, name: str, x: torch.Tensor, error: Exception) -> None:
        if is_out_of_memory(error):
            self._accounts[_key(x)].no_memory = True
        else:
            self._failed = True
        self.compiled.drop()
        log.info('%s: not by OpenVINO (%s).', name, reason(error)[:200])

    def __reduce__(self) -> tuple[Any, ...]:
        return Whole, ()


def _key(x: torch.Tensor) -> Any:
    return tuple(x.shape), precision_of(x)


def kernels_of(net: Any, x: torch.Tensor) -> Any:
    """What computes a converted network as a whole natively, a DenseForm or TokenDense; None where nothing may."""
    if net.amsr.mode != 'dense' and not goes_native(net.amsr, x):
        return None
    return net.calibrated.dense if net.calibrated is not None else net.units.dense if net.units else net.native


def by_kernels(net: Any, x: torch.Tensor) -> torch.Tensor | None:
    """Its images by the native kernels; None where they cannot."""
    own = kernels_of(net, x)
    return None if own is None else own.image(net, x)


def by_torch(net: Any, x: torch.Tensor) -> torch.Tensor:
    """Its images by PyTorch in channels-last."""
    return plain_forward(net, x.contiguous(memory_format=torch.channels_last))
