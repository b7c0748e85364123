"""Which pictures become which files."""
from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from basicsr_amsr.errors import UserError
from basicsr_amsr.files import PART
from basicsr_amsr.infer.formats import ALPHA, FORMATS

KEEP = 'auto'


@dataclass(frozen=True)
class Job:
    """A picture and the file that its enlargement goes to."""

    source: Path
    target: Path

    def target_for(self, alpha: bool, ext: str) -> Path:
        """The file: a PNG where the format of its source could not keep transparency and none was asked for."""
        if ext == KEEP and alpha and FORMATS[self.target.suffix.lower()] not in ALPHA:
            return self.target.with_suffix('.png')
        return self.target


def jobs_of(given: Path, out: Path, suffix: str, ext: str) -> list[Job]:
    """The jobs for a picture, or for all pictures of a folder by name; hidden files are left out.

    Args:
        given: a picture or a folder.
        out: for a picture also the file itself, where its name ends like one.
        suffix: between name and ending, after an underscore; '' for none.
        ext: ending of the files, without dot; 'auto': that of the picture.

    Raises:
        UserError: there is no picture, `ext` is unknown, or a file would take its source's place.
    """
    if ext != KEEP and f'.{ext}' not in FORMATS:
        raise UserError(f'--ext {ext}: pictures are written as {KEEP}, {", ".join(each[1:] for each in FORMATS)}.')
    if not given.exists():
        raise UserError(f"'{given}' is not there.")
    if not given.is_dir():
        sources = [given]
        if out.suffix.lower() in FORMATS and not out.is_dir():
            return _checked([Job(given, out)])
        if given.suffix.lower() not in FORMATS and ext == KEEP:
            ext = 'png'
    else:
        sources = sorted(path for path in given.iterdir() if path.suffix.lower() in FORMATS and not path.is_dir()
                         and not path.name.startswith('.'))
        if not sources:
            raise UserError(f"Folder '{given}' holds no picture (its subfolders are not searched); known are "
                            f'{", ".join(FORMATS)}.')
    endings = {path: path.suffix if ext == KEEP else f'.{ext}' for path in sources}
    behind = f'_{suffix}' if suffix else ''
    taken = Counter(f'{path.stem}{endings[path]}'.lower() for path in sources)
    # a.jpg and a.png, both to png, become a.jpg_out.png and a.png_out.png
    alone = {path: taken[f'{path.stem}{endings[path]}'.lower()] == 1 for path in sources}
    return _checked([Job(path, out / f'{path.stem if alone[path] else path.name}{behind}{endings[path]}')
                     for path in sources])


def _checked(jobs: list[Job]) -> list[Job]:
    for job in jobs:
        if job.target.exists() and job.source.exists() and os.path.samefile(job.source, job.target):
            raise UserError(f"'{job.target}' is the picture itself: name another folder, or a --suffix.")
    return jobs


def make_folder(folder: Path) -> None:
    """The folder for results, without what killed processes were writing there.

    Raises:
        UserError: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"'{folder}' cannot be made: {(error.strerror or '').lower()}.") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"'{folder}' cannot be written to: name another one with -o.")
    for part in folder.glob(f'.*{PART}'):
        if not _alive(part.name.split('.')[-2]):
            part.unlink(missing_ok=True)


def _alive(process: str) -> bool:
    """Whether a process of that number runs."""
    if not process.isdigit() or os.name != 'posix':  # elsewhere asking would end it
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
