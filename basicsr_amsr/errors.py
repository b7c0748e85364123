"""Errors that a user can mend, and the hint that helps to mend them."""
from __future__ import annotations

import difflib
from collections.abc import Iterable


def without_worker_traceback(text: str) -> str:
    """The message alone, of an error whose text a DataLoader's worker has wrapped into its traceback."""
    return text.strip().splitlines()[-1].split(': ', 1)[-1] if 'Original Traceback' in text else text


class UserError(Exception):
    """A mistake in what the user gave (option, file, name, size).

    The message is one line that names the file, key or size and what to do. The command line prints it without a
    traceback and exits with code 2. Raised in a worker of a DataLoader it stays one line: PyTorch raises it anew in the
    main process with the worker's traceback as its text, of which only the message is kept.

    Examples:
        >>> try:
        ...     sr.load_pretrained('RFDN_x5')
        ... except sr.UserError as error:
        ...     print(str(error).split('. ')[1])
        Did you mean RFDN_x4, MGA_RFDN_x4?
    """

    def __init__(self, message: object = '') -> None:
        super().__init__(without_worker_traceback(str(message)))

    @property
    def lines(self) -> list[str]:
        """The message, in one line; an error that stands for several mistakes has one for each."""
        return [' '.join(str(self).split())]


class UnknownName(UserError, KeyError):
    """A name that no registry has; a KeyError for code written against BasicSR's registries."""

    __str__ = Exception.__str__  # KeyError would quote the message


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """The `count` most similar names, most similar first, ignoring case."""
    by_folded = {str(c).lower(): str(c) for c in candidates}
    return [by_folded[m] for m in difflib.get_close_matches(str(name).lower(), by_folded, n=count, cutoff=0.5)]


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """'Did you mean A, B?' for near names, else the sorted list of what there is."""
    candidates = sorted({str(c) for c in candidates})
    near = nearest(name, candidates)
    if near:
        return f'Did you mean {", ".join(near)}?'
    return f'There is: {", ".join(candidates)}.' if candidates else 'There is none.'
