"""What runs for a network: calibrated, whole by the native kernels, or whole by PyTorch; on which device, in what."""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from basicsr_amsr.amsr.accelerate import accelerate_
from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.amsr.config import AMSRConfig
from basicsr_amsr.backbones.tokens import token_family
from basicsr_amsr.errors import UserError
from basicsr_amsr.execution.native.library import library
from basicsr_amsr.execution.openvino import openvino_version
from basicsr_amsr.execution.precision import DTYPES, check_arithmetic, cpu_has_bf16
from basicsr_amsr.infer.find_network import Network
from basicsr_amsr.memory_layout import lay_out

Dtype = Literal['fp32', 'bf16', 'fp16']
Kind = Literal['calibrated', 'dense', 'plain']
BYTES = 1 << 30  # of the largest feature map of a tile
SIDES = (256, 2048)  # of tiles that are chosen here
STEP = 64


@dataclass(frozen=True)
class Form:
    """How a network runs.

    Attributes:
        kind: 'calibrated': only where the picture is hard; 'dense': all of it by the fastest engine; 'plain': all of it
            by PyTorch.
        calibration: what skipped pixels get.
        keep: the share of the patches of pictures like those of the calibration that is computed.
        device, dtype: where and in which number format.
        tile: larger pictures are computed in tiles of that side in pixels; None: never. tile_pad: what a tile reads
            around itself.
        why: why nothing is skipped, or why PyTorch runs it; '' where nothing has to be said.
        no_kernels: why there is no native form of it; '' where there is.
    """

    kind: Kind
    calibration: Calibration | None
    keep: float | None
    device: torch.device
    dtype: Dtype
    tile: int | None
    tile_pad: int
    why: str = ''
    no_kernels: str = ''

    def __str__(self) -> str:
        loaded = library() if self.device.type == 'cpu' else None
        kernels = f'native kernels ({loaded.isa})' if loaded else 'PyTorch'
        engine = 'PyTorch' if self.kind == 'plain' else (
            f'PyTorch or OpenVINO: {self.no_kernels}' if self.no_kernels else kernels)
        what = (f'calibrated, keep {self.keep:.2g}' if self.kind == 'calibrated' and self.keep is not None
                else 'calibrated' if self.kind == 'calibrated' else 'dense')
        return f'{what}, {self.dtype}, {self.device} by {engine}{f" ({self.why})" if self.why else ""}'


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device that is asked for, else a GPU where there is one.

    Raises:
        UserError: it is not there.
    """
    try:
        chosen = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    except RuntimeError as error:
        raise UserError(f"device '{device}' is unknown: cpu, cuda, cuda:1 … or mps.") from error
    if chosen.type not in ('cpu', 'cuda', 'mps'):
        raise UserError(f"device '{device}': cpu, cuda and mps run networks here.")
    there = {'cpu': 1, 'cuda': torch.cuda.device_count() if torch.cuda.is_available() else 0,
             'mps': int(torch.backends.mps.is_available())}[chosen.type]
    if (chosen.index or 0) >= there:
        raise UserError(f"device '{chosen}' is not there: PyTorch sees {there or 'none'} of that kind.")
    return chosen


def choose_dtype(dtype: Dtype | torch.dtype | None, device: torch.device) -> Dtype:
    """The number format that is asked for, else the fastest that stays near fp32: bf16 where the CPU has instructions
    for it, fp16 on NVIDIA's GPUs.

    Raises:
        UserError: it is unknown, or the device lacks it.
    """
    if dtype is None:
        return 'fp16' if device.type == 'cuda' else 'bf16' if device.type == 'cpu' and cpu_has_bf16() else 'fp32'
    named: Dtype | None = next((name for name in get_args(Dtype) if dtype in (name, DTYPES[name])), None)
    if named is None:
        raise UserError(f"dtype '{dtype}' is unknown: {', '.join(DTYPES)}.")
    check_arithmetic(named, device, 'dtype')
    return named


def choose_tile(tile: int | None, net: nn.Module, channels: int, least: int) -> int | None:
    """The side of tiles: what is given (0: no tiles), else as large as keeps the largest feature map under a gigabyte.

    Raises:
        UserError: a number that is none.
    """
    if tile is not None:
        if isinstance(tile, bool) or not isinstance(tile, int) or tile < 0 or 0 < tile < 16:
            raise UserError(f'tile is {tile!r}: give 0 for none, or 16 pixels and more.')
        return tile or None
    most, side = 1, max(32, least)

    def see(module: nn.Module, given: object, output: object) -> None:
        nonlocal most
        most = max(most, output.numel() if isinstance(output, torch.Tensor) else 1)

    hooks = [module.register_forward_hook(see) for module in net.modules()]
    try:
        with torch.no_grad():
            net(torch.zeros(1, channels, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    wide = int(math.sqrt(BYTES * side**2 / (4 * most))) // STEP * STEP
    return min(max(wide, SIDES[0]), SIDES[1])


def bring_to_form(network: Network, keep: float | None, calibration: Calibration | None, dense: bool,
                  device: str | torch.device | None, dtype: Dtype | torch.dtype | None, tile: int | None,
                  tile_pad: int) -> Form:
    """Accelerate a network, in place, in the fastest way that it can be, and move it to its device.

    Args:
        network: plain.
        keep: the share of the patches; None: that of the calibration.
        calibration: what was fitted to the network; None: one that comes with its weights, if there is one.
        dense: compute everything.
        device, dtype, tile: None chooses.
        tile_pad: pixels.

    Raises:
        UserError: a calibration of another network, `keep` without any, a device that is not there.
    """
    where, net = choose_device(device), network.net
    if isinstance(tile_pad, bool) or not isinstance(tile_pad, int) or tile_pad < 0:
        raise UserError(f'tile_pad is {tile_pad!r}: give a number of pixels from 0.')
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 <= keep <= 1):
        raise UserError(f'keep is {keep!r}: give a share of the patches, from 0 to 1.')
    if dense and (keep is not None or calibration is not None):
        raise UserError('dense computes everything: leave keep and calibration out.')
    number, side = choose_dtype(dtype, where), choose_tile(tile, net, network.channels, network.least)
    lay_out(net.to(device=where))
    given = calibration or network.calibration
    native = where.type == 'cpu' and library() is not None
    mode: Literal['sparse', 'auto'] = 'sparse' if native and not token_family(net) else 'auto'
    candidates = [] if dense or where.type == 'mps' else [given] if given else [
        Calibration.load(file) for file in network.calibrations]
    why = '' if dense else 'mps skips nothing' if where.type == 'mps' else NOT_FITTED
    for candidate in candidates:
        try:
            accelerate_(net, AMSRConfig(calibration=candidate, selection=candidate.selection(keep), mode=mode,
                                        tile=side, tile_pad=tile_pad))
        except UserError as error:
            if candidate is given:
                raise UserError(f'{network.name}: {error}') from error
            continue
        keep = kept(candidate) if keep is None else keep
        return Form('calibrated', candidate, keep, where, number, side, tile_pad)
    if keep is not None:
        raise UserError(f'keep is {keep:g}, but {network.name} has no calibration: fit one with basicsr calibrate, and '
                        'give it as calibration.')
    try:
        if where.type != 'cpu' or (not native and openvino_version() is None):
            raise UserError('' if where.type != 'cpu' else 'no native kernels, see basicsr doctor')
        # in tiles, torch's and OpenVINO's networks get sides that are multiples of 32, from where these begin
        backend: Literal['auto', 'native'] = 'auto' if 32 % network.multiple == 0 else 'native'
        report = accelerate_(net, AMSRConfig(mode='dense', backend=backend, tile=side, tile_pad=tile_pad))
    except UserError as error:
        told = '; '.join(text for text in (why, str(error).rstrip('.')) if text)
        return Form('plain', None, None, where, number, side, tile_pad, told)
    return Form('dense', None, None, where, number, side, tile_pad, why, report.why.rstrip('.'))


NOT_FITTED = 'no calibration'


def kept(calibration: Calibration) -> float | None:
    """The share of the patches of its pictures that a calibration was fitted to compute; None where no level says."""
    levels, level = calibration.fit.levels, calibration.selection().level
    if level is None:
        return calibration.selection().keep
    return sum(each > level for each in levels) / (len(levels) - 1)
