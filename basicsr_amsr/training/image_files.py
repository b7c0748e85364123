"""The file of each image that a validation or test makes."""
from __future__ import annotations

from typing import Any

from basicsr.utils.img_util import imwrite as _imwrite

from basicsr_amsr.errors import UserError
from basicsr_amsr.training.watched import placed


def imwrite(img: Any, file_path: str, params: Any = None, auto_mkdir: bool = True) -> None:
    """BasicSR's `imwrite`; images of a test set whose files are named alike go into folders of their own.

    Raises:
        UserError: the file cannot be written.
    """
    path = placed(file_path)
    try:
        _imwrite(img, path, params, auto_mkdir)
    except OSError as error:
        why = f': {error.strerror.lower()}' if error.strerror else ''
        raise UserError(f"Cannot write '{path}'{why}.") from error
