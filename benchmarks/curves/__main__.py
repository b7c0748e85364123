"""Quality against counted MACs and against time of accelerated networks that were not trained for it.

    python -m benchmarks.curves measure --weights RFDN_x4 --fit gb82 clic --images Set14/HR --out rfdn_x4.jsonl
    python -m benchmarks.curves measure --weights PAN_x2.pth --network type=PAN upscale=2 --fit … --images … --out …
    python -m benchmarks.curves show docs/data/amsr_curves.csv rfdn_x4.jsonl --plot curves.png
    python -m benchmarks.curves show docs/data/amsr_curves.csv rfdn_x4.jsonl --table docs/data/amsr_curves.csv

Each point is a form at a share of active patches: `pixels`, `smoothed` (pixels, by a smoothed map) and `patches` (8×8,
smoothed) are units whose skipped pixels keep their input; `calibrated` predicts them and has a light tail
(docs/amsr.md), with the same share of patches in each image; `one level` does so where the high frequencies are over a
level, the same for all images; `fewer units` is the honest rival: every pixel is computed, but the last units are each
replaced by a 1×1 convolution, fitted to the same images one after the other. PSNR is on Y with a border of the scale.
MACs are those of the whole network with predictions and light tail, counted on the first ten images of a set, on all
where each has its own share of patches. Time is CPU time of the process (one thread), the dense network's measured
beside each image's; `show` also compares it at equal PSNR. The file grows by a line for each image and
point; what it has is not measured again. `show` takes such files, and tables (.csv) of their means, which `--table`
writes: what took hours to measure is kept in docs/data.
"""
from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch
import yaml
from torch import nn

from basicsr_amsr import load_pretrained
from basicsr_amsr.bench.networks import scale_of
from basicsr_amsr.bench.quality import pair
from basicsr_amsr.data.image_io import list_images
from benchmarks.curves.means import load_means, save_means
from benchmarks.curves.measure import measure, read
from benchmarks.curves.points import CALIBRATED, PLAIN, Point, convert, points
from benchmarks.curves.show import compare, draw, show
from benchmarks.mga_psnr import set_name


def append(args: argparse.Namespace) -> None:
    """Measure what the file lacks."""
    torch.set_num_threads(args.threads)
    options = {name: yaml.safe_load(value) for name, value in (item.split('=') for item in args.network)}

    def load() -> nn.Module:
        return load_pretrained(args.weights, **options).to(memory_format=torch.channels_last)

    dense, out = load(), Path(args.out)
    scale = scale_of(dense, 3)
    fitted = [pair(file, scale, crop=args.fit_crop)[0].contiguous(memory_format=torch.channels_last)
              for folder in args.fit for file in list_images(folder)[:args.fit_images]]
    networks = {point: convert(load(), point, fitted, out.with_suffix('.calibrations'))
                for point in points(args.forms, args.keeps, args.patch_sizes, args.smooth, args.fewer,
                                    args.keeps_by_level)}
    sets = {set_name(folder): list_images(folder)[:args.first] for folder in args.images}
    known = {(line['set'], line['image'], Point(*line['point'])) for line in read(out)}
    with out.open('a', encoding='utf-8') as file:
        for line in measure(dense, networks, sets, scale, known):
            file.write(json.dumps({'network': f'{type(dense).__name__} x{scale}', **line}) + '\n')
            file.flush()


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, or show what was measured."""
    parser = argparse.ArgumentParser(prog='benchmarks.curves', description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, dest='command')
    one = commands.add_parser('measure', help='add points to a file')
    one.add_argument('--weights', required=True, help='of load_pretrained: a name, or a file')
    one.add_argument('--network', nargs='*', default=[], metavar='KEY=VALUE', help='its options: type=PAN upscale=4')
    one.add_argument('--fit', nargs='+', required=True, help='folders of HR images to calibrate on')
    one.add_argument('--fit-images', type=int, help='only so many of each')
    one.add_argument('--fit-crop', type=int, default=576, help='only their centre of so many HR pixels a side')
    one.add_argument('--images', nargs='+', required=True, help='folders of HR images')
    one.add_argument('--first', type=int, help='only so many of each')
    forms = [*PLAIN, *CALIBRATED, 'fewer units']
    one.add_argument('--forms', nargs='+', choices=forms, default=forms)
    one.add_argument('--keeps', type=float, nargs='+', default=[0.9, 0.75, 0.6, 0.5])
    one.add_argument('--keeps-by-level', type=float, nargs='+', default=[0.6, 0.5, 0.4, 0.3],
                     help='of the patches of the images '
                     'of --fit: shares of `one level`')
    one.add_argument('--patch-sizes', type=int, nargs='+', default=[4, 8, 16], help='of calibrated forms')
    one.add_argument('--smooth', type=int, default=5, help="of `calibrated`")
    one.add_argument('--fewer', type=int, nargs='+', default=[1, 2])
    one.add_argument('--threads', type=int, default=1)
    one.add_argument('--out', required=True)
    two = commands.add_parser('show', help='a table for each network, and one picture')
    two.add_argument('files', nargs='+')
    two.add_argument('--plot')
    two.add_argument('--table', metavar='CSV', help='write the means of all files')
    args = parser.parse_args(argv)
    if args.command == 'measure':
        append(args)
        return
    curves = load_means(args.files)
    for network, found in curves.items():
        show(network, found)
        compare(network, found)
    if args.table:
        save_means(curves, args.table)
    if args.plot:
        draw(curves, args.plot)


if __name__ == '__main__':
    cv2.setNumThreads(1)
    main()
