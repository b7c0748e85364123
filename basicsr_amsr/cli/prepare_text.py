"""What `basicsr prepare` prints and writes as JSON."""
from __future__ import annotations

from typing import Any

from basicsr_amsr.data.prepare import train_options
from basicsr_amsr.data.prepare.carry_out import Report
from basicsr_amsr.data.prepare.settings import Settings
from basicsr_amsr.data.prepare.sources import Source
from basicsr_amsr.data.prepare.work_plan import Plan, free_bytes


def describe(plan: Plan, sizes: bool = True) -> list[str]:
    """What is to be done, in lines; `sizes` encodes a few images to foresee the bytes."""
    settings, sources = plan.settings, plan.sources
    lines = [f'{plan.images} HR images from {", ".join(map(str, settings.hr))}; '
             f'{plan.images - len(plan.todo)} done, {len(plan.todo)} to do']
    if sources.left_out:
        lines.append(f"{len(sources.left_out)} images are left out: shorter than --min-size {settings.min_size} "
                     f"(the first is '{sources.left_out[0].path}', {_size(sources.left_out[0])})")
    if sources.renamed:
        first = sources.renamed[0]
        lines.append(f"{len(sources.renamed)} names change: BasicSR cannot read them (the first is "
                     f"'{first.path.name}', now {first.name})")
    if plan.smaller:
        first = plan.smaller[0]
        lines.append(f"{len(plan.smaller)} images are smaller than the crop of {settings.crop} and are kept at their "
                     f"own size (the first is '{first.path}', {_size(first)}); --min-size {settings.crop} leaves them "
                     'out')
    if plan.gone:
        lines.append(f'{len(plan.gone)} images are no longer there: their results are removed')
    if plan.other is not None:
        lines.append('what was prepared with other settings is removed')
    if sizes:
        about, files = plan.bytes_about(plan.todo), plan.files(plan.todo)
        lines += [f'{target}: {files} images, about {in_bytes(about[side])}'
                  for side, target in settings.targets.items()]
        lines.append(f'in all about {in_bytes(sum(about.values()))}; {in_bytes(free_bytes(settings.out))} are free')
    return lines


def summary(settings: Settings, report: Report) -> list[str]:
    """What was done, in lines; the last is the speed."""
    about = report.bytes(settings)
    lines = [f'{target}: {report.files()} images, {in_bytes(about[side])}'
             for side, target in settings.targets.items()]
    if report.prepared:
        lines.append(f'{report.prepared} HR images in {report.seconds:.1f} s: '
                     f'{report.prepared / report.seconds:.1f} images/s, '
                     f'{report.pixels / report.seconds / 1e6:.1f} MPixel/s')
    else:
        lines.append('Nothing to do: everything is there.')
    return lines


def print_options(options: dict[int, dict[str, Any]]) -> None:
    """The options for the largest scale, and where the others differ."""
    scale = max(options)
    print(f'\n{train_options.as_yaml(scale, options[scale])}', end='')
    for other in sorted(set(options) - {scale}):
        differing = {key: value for key, value in options[other].items() if options[scale].get(key) != value}
        print(f'# scale {other}: {", ".join(f"{key}: {value}" for key, value in differing.items())}')


def figures(plan: Plan) -> dict[str, Any]:
    """The plan for --json."""
    return {'settings': plan.settings.record(), 'images': plan.images, 'to_do': len(plan.todo),
            'left_out': [str(source.path) for source in plan.sources.left_out],
            'smaller_than_crop': [str(source.path) for source in plan.smaller]}


def result(settings: Settings, report: Report) -> dict[str, Any]:
    """The outcome for --json."""
    sizes = report.bytes(settings)
    return {'prepared': report.prepared, 'seconds': round(report.seconds, 3),
            'images_per_second': round(report.prepared / report.seconds, 3),
            'mpixel_per_second': round(report.pixels / report.seconds / 1e6, 3),
            'results': {str(target): {'images': report.files(), 'bytes': sizes[side]}
                        for side, target in settings.targets.items()}}


def in_bytes(number: float) -> str:
    """'1.3 GB': powers of 1000, as disks are sold."""
    for unit in ('B', 'kB', 'MB', 'GB'):
        if number < 1000:
            return f'{number:.0f} {unit}' if unit == 'B' else f'{number:.1f} {unit}'
        number /= 1000
    return f'{number:.1f} TB'


def _size(source: Source) -> str:
    return f'{source.size[0]}x{source.size[1]}' if source.size else 'of unknown size'
