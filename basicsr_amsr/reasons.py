"""Why something failed, in one line: whatever a library raised, with what to do about it where that is known."""
from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import basicsr
import torch

from basicsr_amsr.errors import UserError, without_worker_traceback

PLAIN = (AssertionError, ValueError, RuntimeError, NotImplementedError, OSError, ImportError)  # the text says enough
MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|Cannot allocate memory", re.IGNORECASE)
DOWNLOAD = 'download_url_to_file'  # of torch.hub, which torchvision and BasicSR call
OURS = str(Path(__file__).resolve().parent) + os.sep
BASICSR = str(Path(basicsr.__file__).resolve().parent) + os.sep
LIBRARIES = (f'{os.sep}site-packages{os.sep}', f'{os.sep}dist-packages{os.sep}', str(Path(os.__file__).parent) + os.sep,
             '<frozen')
SHOWN = 40  # letters of a value


def reason(error: BaseException) -> str:
    """What went wrong, in one line without full stop."""
    if isinstance(error, UserError):
        return str(error).rstrip('.')
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.split('.')[0]
        return f"the package '{package}' is not installed: pip install {package}"
    download = _download(error)
    if download:
        return download
    if isinstance(error, OSError) and error.filename is not None:
        return _of_file(error)
    if is_out_of_memory(error):
        return 'memory ran out'
    text = ' '.join(without_worker_traceback(' '.join(map(str, error.args)) or str(error)).split()).rstrip('.')
    if isinstance(error, PLAIN) and text:
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the computer or of a GPU; PyTorch raises a RuntimeError for the former."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and MEMORY.search(str(error)) is not None)


def origin(error: BaseException) -> tuple[str, int] | None:
    """File and line that raised it, or that called the library that did; of a data loader's worker they come as text.

    None where no such file is known.
    """
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    frames += [(file, int(line)) for file, line in re.findall(r'File "([^"]+)", line (\d+)', str(error))]
    for file, line in reversed(frames):
        real = os.path.realpath(file)
        if real.startswith((OURS, BASICSR)) or not any(place in file for place in LIBRARIES):
            return real, line
    return None


@contextmanager
def building(what: str, values: Mapping[str, Any]) -> Iterator[None]:
    """Turns whatever is raised while something is built from options into a UserError: their values do not go together.

    Args:
        what: its place in the file and its name, such as 'network_g: RCAN'.
        values: the options that it is built with.

    Raises:
        UserError: one line with both and the reason.
    """
    try:
        yield
    except UserError as error:
        place = what.rpartition(': ')[0]
        if type(error) is not UserError or place in str(error):
            raise
        raise UserError(f'{place}: {error}') from error
    except Exception as error:
        given = ', '.join(f'{key}: {_short(value)}' for key, value in values.items() if key != 'type')
        raise UserError(f'{what} cannot be built{f" with {given}" if given else ""}: {reason(error)}.') from error


def _short(value: Any) -> str:
    text = ' '.join(str(value).split())
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}…'


def _of_file(error: OSError) -> str:
    path = Path(os.fsdecode(error.filename))
    # os.path asks without raising, whatever the name.
    links = (place for place in (path, *path.parents) if os.path.islink(place))
    link = next((place for place in links if not os.path.exists(place)), None)
    if link is not None:
        return f'{link} is a link to {os.readlink(link)}, which is not there'
    if isinstance(error, FileNotFoundError):
        return f'{path} does not exist'
    blocking = next((place for place in path.parents if os.path.isfile(place)), None)
    if blocking is not None:
        return f'{blocking} is a file where a folder is wanted'
    return f'{path}: {(error.strerror or type(error).__name__).lower()}'


def _download(error: BaseException) -> str | None:
    """Says of a failed download what the address was and where to put the file; None for other errors."""
    if not isinstance(error, (URLError, ConnectionError, TimeoutError)):
        return None
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_name == DOWNLOAD:
            given = frame.f_locals
            return f'{given["url"]} cannot be downloaded ({error}): put that file at {given["dst"]}'
    return None
