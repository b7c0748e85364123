"""Enlarges the pictures of `basicsr infer`, with the network of its flags, and tells what became of them."""
from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from basicsr_amsr.amsr.calibration.file import Calibration
from basicsr_amsr.cli.metrics_report import write_json
from basicsr_amsr.cli.progress import quiet
from basicsr_amsr.files import save_whole
from basicsr_amsr.infer import fitting, picture
from basicsr_amsr.infer.chosen_form import NOT_FITTED
from basicsr_amsr.infer.find_network import Network, find_network
from basicsr_amsr.infer.jobs import Job
from basicsr_amsr.infer.report import Paper, Report
from basicsr_amsr.infer.report_page import Page
from basicsr_amsr.infer.report_picture import Sheet
from basicsr_amsr.infer.run_pictures import Done, mask_of
from basicsr_amsr.infer.run_pictures import run as run_jobs
from basicsr_amsr.infer.upscaler import Upscaler
from basicsr_amsr.infer.writing import write


def enlarge(args: argparse.Namespace, jobs: list[Job]) -> int:
    """Enlarge; exit code 0, or 2 where a picture failed."""
    upscale = chosen(args, jobs)
    print(f'{upscale.network.name} x{upscale.scale:g}: {upscale.form}', flush=True)
    report = Report(upscale, dense_beside(upscale, args), paper_for(args.report, upscale)) if args.report else None
    begun, counts, entries = time.perf_counter(), {'done': 0, 'skipped': 0, 'failed': 0}, []
    with bar(jobs) as (progress, say):
        def look(done: Done, given: picture.Picture, large: picture.Picture) -> None:
            if report is not None:
                report.look(done, given, large)
            if args.save_mask:
                write(done.target.with_name(f'{done.target.stem}_mask.png'), mask_of(upscale, given))

        try:
            for done in run_jobs(jobs, upscale, args.ext, args.overwrite, look):
                counts[done.status] += 1
                entries.append(entry(done))
                say(done)
                progress(done)
        finally:
            if args.json:
                write_json(args.json, {'network': upscale.network.name, 'scale': upscale.scale,
                                       'form': str(upscale.form), 'seconds': time.perf_counter() - begun,
                                       'pictures': entries})
    if report is not None:
        save_whole(args.report, report.paper.content())
        print(f'report: {args.report}')
    if len(jobs) > 1:
        told = ', '.join(f'{count} {status}' for status, count in counts.items() if count)
        print(f'{told} in {time.perf_counter() - begun:.1f} s: {jobs[0].target.parent}')
    return 2 if counts['failed'] else 0


def paper_for(file: Path, upscale: Upscaler) -> Paper:
    """What a report is written on, by the ending of its name."""
    name, form, kind = upscale.network.name, str(upscale.form), file.suffix.lower()
    return Page(f'{name} x{upscale.scale:g}', form) if kind == '.html' else Sheet(f'{name}: {form}', kind[1:])


def chosen(args: argparse.Namespace, jobs: list[Job]) -> Upscaler:
    """The network as the flags say, with a calibration that a long folder gets on the way."""
    network, keep, dense = network_of(args)
    keep = keep if args.keep is None else args.keep

    def build(calibration: Path | Calibration | None) -> Upscaler:
        return Upscaler(network, keep=keep, calibration=calibration, dense=args.dense or dense, scale=args.outscale,
                        device=args.device if args.gpu_id is None else f'cuda:{args.gpu_id}',
                        dtype='fp32' if args.fp32 else None, tile=args.tile, tile_pad=args.tile_pad)

    upscale = build(args.calibration)
    if upscale.form.kind != 'dense' or upscale.form.why != NOT_FITTED:
        return upscale
    calibration = fitting.kept(network)
    if calibration is None and not fitting.refused(network):
        calibration = fitted_on_the_way(network, upscale, jobs)
    if calibration is None:
        reason = ('one was fitted before and came no nearer than 50 dB' if fitting.refused(network) else
                  'a folder long enough to pay it back gets one, or fit it yourself: basicsr calibrate -h')
        return with_reason(upscale, f'{NOT_FITTED}: {reason}')
    return build(calibration)


def network_of(args: argparse.Namespace) -> tuple[Network, float | None, bool]:
    """The network, and what an option file says of it: the share that is kept, and whether it is dense."""
    if args.opt is None:
        return find_network(args.model_name or args.weights, args.outscale), None, False
    from basicsr_amsr.cli.option_network import read_options  # brings BasicSR along
    from basicsr_amsr.profiling import subject

    options = read_options(args.opt, [], weights=True)
    net = subject.build(options)
    subject.load_weights(net, options)
    found = dataclasses.replace(find_network(net), name=str(options.get('name') or Path(args.opt).stem))
    return found, options['network_g'].get('keep'), options['network_g'].get('mode') == 'dense'


def fitted_on_the_way(network: Network, upscale: Upscaler, jobs: list[Job]) -> Calibration | None:
    """A calibration fitted to the folder's pictures, where that pays, with lines that say so."""
    sizes = [size for job in jobs if not job.target.exists() and (size := picture.size_of(job.source))]
    if len(sizes) < 4:
        return None
    expected = fitting.estimate(upscale.network.net, network, sizes)
    if not expected.pays:
        return None
    print(f'{network.name} has no calibration; {expected}, which is kept for later', flush=True)
    return fitting.fit_to(network, [job.source for job in jobs], lambda line: print(line, flush=True))


def with_reason(upscale: Upscaler, why: str) -> Upscaler:
    """The same with another reason for what it does."""
    upscale.form = dataclasses.replace(upscale.form, why=why)
    return upscale


def dense_beside(upscale: Upscaler, args: argparse.Namespace) -> Upscaler | None:
    """The whole network for the report; None where that is what runs."""
    if upscale.form.kind != 'calibrated':
        return None
    form = upscale.form
    return Upscaler(upscale.network, dense=True, scale=args.outscale, device=form.device, dtype=form.dtype,
                    tile=form.tile or 0, tile_pad=form.tile_pad)


@contextmanager
def bar(jobs: list[Job]) -> Iterator[tuple[Callable[[Done], None], Callable[[Done], None]]]:
    """Functions that advance a bar by a picture's pixels, with the time left, and that print what became of it."""
    areas = {job.source: size[0] * size[1] for job in jobs if (size := picture.size_of(job.source))} if (
        not quiet()) else {}
    with tqdm(total=sum(areas.values()), unit='px', unit_scale=True, disable=quiet() or len(jobs) == 1, leave=False,
              dynamic_ncols=True) as shown:
        def progress(done: Done) -> None:
            shown.update(areas.get(done.source, 0))

        def say(done: Done) -> None:
            if done.status == 'failed':
                tqdm.write(f'basicsr: error: {" ".join(done.error.split())}', file=sys.stderr)
            else:
                tqdm.write(line_of(done))
                sys.stdout.flush()

        yield progress, say


def line_of(done: Done) -> str:
    """What became of a picture, in words."""
    if done.status == 'skipped' or done.size is None:
        return f'{done.target} is there already (--overwrite computes it again)'
    part = f', {done.keep:.0%} computed' if done.keep is not None and done.keep < 1 else ''
    notes = ''.join(f', {note}' for note in done.notes)
    return f'{done.target}: {done.size[1]}x{done.size[0]}, {sum(done.seconds.values()):.2f} s{part}{notes}'


def entry(done: Done) -> dict[str, object]:
    """What the JSON file says of a picture."""
    return {'input': str(done.source), 'output': str(done.target), 'status': done.status, 'size': done.size,
            'seconds': done.seconds, 'keep': done.keep, 'notes': list(done.notes), 'error': done.error or None}
