"""`basicsr freq`: what networks restore of degraded images, by spatial frequency, as PNG and JSON."""
from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from basicsr.utils import img2tensor
from rich.console import Console
from rich.table import Table

from basicsr_amsr.cli.metrics_report import show, write_json
from basicsr_amsr.cli.option_network import choose_device, named, read_options, restoring_model
from basicsr_amsr.data.image_io import list_images, read_image, to_float
from basicsr_amsr.errors import UserError
from basicsr_amsr.options.plain_yaml import parse_value
from basicsr_amsr.profiling.subject import input_channels
from basicsr_amsr.resources import resolve
from basicsr_amsr.sfm.conditions import KINDS, Condition, condition, of_values
from basicsr_amsr.sfm.restoration import INPUT, restore
from basicsr_amsr.sfm.restoration_picture import draw


def run(args: argparse.Namespace) -> int:
    """Run, print the PSNR, write picture and figures; exit code 0."""
    device = choose_device(args.device)
    if not Path(args.out).parent.is_dir():
        raise UserError(f'--out {args.out}: there is no folder {Path(args.out).parent}.')
    for flag, value in (('--bands', args.bands), ('--max-images', args.max_images)):
        if value is not None and value < 1:
            raise UserError(f'{flag} {value}: a whole number, 1 or more, is needed.')
    options = {name: read_options(file, args.force_yml, weights=True) for name, file in named(args.opt).items()}
    scale, channels = shared(options, 'scale'), shared(options, 'channels')
    conditions = chosen(args, scale)
    images = load_images(args.images, args.max_images, scale, channels)
    models = {name: restoring_model(opt, device) for name, opt in options.items()}
    with Console(stderr=True).status('') as status:
        report = restore(models, conditions, images, args.bands, args.seed, status.update)
    networks = {name: {'option_file': file, 'weights': options[name]['path']['pretrain_network_g']}
                for name, file in named(args.opt).items()}
    draw(report, Path(f'{args.out}.png'))
    write_json(Path(f'{args.out}.json'), {'networks': networks, 'scale': scale, 'folder': str(args.images),
                                          'downscale': args.downscale if scale > 1 else None, 'seed': args.seed,
                                          'device': str(device), 'torch': torch.__version__, **report})
    show(psnr_table(report), f'{len(images)} images of {args.images}; {args.out}.png and {args.out}.json written')
    return 0


def shared(options: Mapping[str, Mapping[str, Any]], what: str) -> int:
    """The scale, or the number of image channels, that all networks have."""
    found = {name: int(opt.get('scale') or 1) if what == 'scale' else input_channels(opt['network_g'])
             for name, opt in options.items()}
    if len(set(found.values())) > 1:
        told = ', '.join(f'{name} {value}' for name, value in found.items())
        raise UserError(f'-opt: networks of different {what} cannot be compared: {told}.')
    return next(iter(found.values()))


def chosen(args: argparse.Namespace, scale: int) -> list[Condition]:
    """The conditions that the flags ask for; the plain task where they ask for none.

    Raises:
        UserError: a value is not possible.
    """
    found = [one for kind in KINDS for one in of_values(kind, getattr(args, kind), scale, args.downscale)]
    for text in args.degradations:
        try:
            steps = parse_value(text)
        except yaml.YAMLError as error:
            raise UserError(f"--degradations '{text}': no YAML: {' '.join(str(error).split())}") from error
        found.append(condition('own', None, text if len(text) < 60 else f'{text[:57]}…', steps, scale, args.downscale))
    if not found and scale == 1:
        raise UserError('name the degradations to look at, such as --noise 15 25 50 or --blur 1 2.')
    return found or [condition('none', None, f'{args.downscale} x{scale}', [], scale, args.downscale)]


def load_images(folder: str, count: int | None, scale: int, channels: int) -> dict[str, torch.Tensor]:
    """Images by name, (C, H, W) in 0–1, RGB or gray, cropped to multiples of the scale.

    Raises:
        UserError: the folder or an image cannot be used.
    """
    images = {}
    for path in list_images(resolve(folder))[:count]:
        image = to_float(read_image(path, gray=channels == 1))
        height, width = (side // scale * scale for side in image.shape[:2])
        if min(height, width) < 2 * scale:
            raise UserError(f"Image '{path}' is {image.shape[0]}x{image.shape[1]}, too small for scale {scale}.")
        images[path.name] = img2tensor(image[:height, :width].copy())
    return images


def psnr_table(report: Mapping[str, Any]) -> Table:
    """Conditions by networks."""
    conditions = report['conditions']
    table = Table(title='PSNR in dB', title_justify='left')
    table.add_column('degradation')
    for name in conditions[0]['psnr']:
        table.add_column('input, bicubic' if name == INPUT else name, justify='right')
    for one in conditions:
        table.add_row(one['name'], *(f'{value:.3f}' for value in one['psnr'].values()))
    return table
