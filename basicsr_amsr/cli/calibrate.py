"""`basicsr calibrate`: fit what an accelerated network's skipped pixels get, to a folder of unlabelled images."""
from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import img2tensor
from rich.console import Console
from torch import nn

from basicsr_amsr.amsr.accelerate import restore_
from basicsr_amsr.amsr.calibration.choose import Meter, Point, Trial, calibrate, search
from basicsr_amsr.amsr.config import calibrated_selection
from basicsr_amsr.cli.option_network import choose_device, read_options
from basicsr_amsr.data.bicubic import downscale
from basicsr_amsr.data.image_io import centre_crop, list_images, read_image, to_float
from basicsr_amsr.errors import UserError
from basicsr_amsr.infer.find_network import find_network
from basicsr_amsr.profiling import subject
from basicsr_amsr.resources import resolve
from basicsr_amsr.selection.build_selection import build_selection
from basicsr_amsr.selection.high_frequency_mask import HighFrequencyMask
from basicsr_amsr.weights.cards import SUFFIX

HELD = 3  # every third image is held back, to measure on


def run(args: argparse.Namespace) -> int:
    """Calibrate, measure, write the file; exit code 0."""
    device = choose_device(args.device)
    check_flags(args)
    found = subject_of(args)
    out = Path(args.out or found.out)
    if not out.parent.is_dir():
        raise UserError(f'{out}: there is no folder {out.parent}.')
    if not args.out and out.exists():
        raise UserError(f'{out} is there already: write -o {out} to replace it, or name another file.')
    net, selection = found.net.eval().to(device), chosen_selection(args, found.selection)
    trial = images(args, found.scale, found.channels, device)
    console = Console()
    with Console(stderr=True).status('fitting'):
        if args.max_loss is not None:
            selection, point = search(net, selection, trial, args.max_loss, lambda found: console.print(told(found)),
                                      not args.each_image)
        else:
            point = Meter(net, trial).measure(calibrate(net, trial.fitted, selection, not args.each_image))
        calibration = calibrate(net, [*trial.fitted, *trial.held], selection, not args.each_image)
    calibration.save(out)
    numbers = sum(affine.macs + affine.bias.numel() for affine in calibration.prediction.contexts.values())
    console.print(f'{out}: {len(calibration.prediction.contexts)} predictions, {numbers:,} numbers, fitted to '
                  f'{calibration.fit.images} images. Fitted to {len(trial.fitted)} of them, on the others: '
                  f'{told(point)}.', soft_wrap=True)
    return 0


@dataclass(frozen=True)
class Subject:
    """The plain network that is calibrated, with its scale, the channels of its images, the selection that its options
    ask for, and where the calibration goes if nothing is said."""

    net: nn.Module
    scale: int
    channels: int
    selection: object
    out: str


def subject_of(args: argparse.Namespace) -> Subject:
    """The network of the flags."""
    if args.opt is None:
        if args.force_yml:
            raise UserError('--force_yml changes an option file: it goes with -opt.')
        found = find_network(args.model_name or args.weights, args.outscale)
        return Subject(restore_(found.net), found.scale, found.channels, None, found.name + SUFFIX)
    if args.outscale is not None:
        raise UserError('-s is for -n and --weights: the option file has a scale.')
    opt = read_options(args.opt, args.force_yml, weights=True)
    network = opt['network_g']
    selection = network.get('selection')
    out = network.pop('calibration', None) or Path(opt['path']['pretrain_network_g']).stem + SUFFIX
    for key in ('keep', 'budget', 'unit', 'dense_first'):
        network.pop(key, None)
    net = restore_(subject.build(opt))
    subject.load_weights(net, opt)
    return Subject(net, int(opt.get('scale') or 1), subject.input_channels(network), selection, out)


def check_flags(args: argparse.Namespace) -> None:
    """Raise a UserError for flags that make no sense, alone or together."""
    if args.max_loss is not None and not args.downscale:
        raise UserError(f'--max-loss {args.max_loss:g} needs ground truth: give HR images and --downscale.')
    for flag, value, least in (('--max-images', args.max_images, 2), ('--crop', args.crop, 32)):
        if value < least:
            raise UserError(f'{flag} {value}: a whole number, {least} or more, is needed.')


def chosen_selection(args: argparse.Namespace, given: object) -> HighFrequencyMask:
    """The selection of the options, or the default, with what the flags say."""
    selection = build_selection(given) if isinstance(given, dict) else calibrated_selection()
    if not isinstance(selection, HighFrequencyMask):
        raise UserError('network_g: selection: a calibration goes with HighFrequencyMask, not '
                        f'{type(selection).__name__}.')
    flags = {name: getattr(args, name) for name in ('keep', 'patch_size', 'smooth') if getattr(args, name) is not None}
    return dataclasses.replace(selection, **flags)


def images(args: argparse.Namespace, scale: int, channels: int, device: torch.device) -> Trial:
    """Images to fit to and others to measure on.

    Raises:
        UserError: too few, or too small ones.
    """
    low: list[torch.Tensor] = []
    high: list[Any] = []
    multiple = scale if args.downscale else 1
    files = [path for folder in args.images for path in list_images(resolve(folder))]
    for path in files[:args.max_images]:
        whole = read_image(path, gray=channels == 1)
        image = centre_crop(whole, args.crop, multiple)
        if min(image.shape[:2]) < 16 * multiple:
            raise UserError(f"Image '{path}' is {whole.shape[0]}x{whole.shape[1]}: at least {16 * multiple} pixels of "
                            'each side are needed.')
        small = downscale(image, scale) if args.downscale else image
        low.append(img2tensor(to_float(small), bgr2rgb=channels == 3)[None].to(device))
        high.append(image)
    if len(low) < 2:
        raise UserError(f"Folder '{args.images[0]}' holds a single image: one to fit to and one to measure on are "
                        'needed.')
    held = range(HELD - 1, len(low), HELD) if len(low) >= HELD else range(1, 2)
    fitted = [image for i, image in enumerate(low) if i not in held]
    return Trial(fitted, [low[i] for i in held], [high[i] for i in held] if args.downscale else None, scale)


def told(point: Point) -> str:
    """A point as text."""
    against = f'{point.fidelity:.2f} dB to the dense image'
    if point.loss is not None:
        against = f'{-point.loss:+.3f} dB against dense ({against})'
    return f'{point.keep:.1%} of the patches, {point.macs:.1%} of the MACs, {against}'
