"""Checkpoints of architectures that this package does not have, through spandrel (the extra `spandrel`)."""
from __future__ import annotations

from pathlib import Path

from basicsr_amsr.amsr.descriptor import Descriptor
from basicsr_amsr.backbones.checkpoint import canonicalize
from basicsr_amsr.errors import UserError
from basicsr_amsr.finite import not_finite
from basicsr_amsr.reasons import reason


def load(content: object, file: Path) -> Descriptor:
    """The network that spandrel recognises in a checkpoint.

    Args:
        content: what `read_weights_only` gave; spandrel itself opens no file.
        file: where it is from, for messages.

    Raises:
        UserError: spandrel is not installed, does not know it, or it restores no pictures.
    """
    try:
        import spandrel
    except ModuleNotFoundError as error:
        raise UserError(f'{file.name} is of no network that is known here (`basicsr list backbone`). spandrel knows '
                        'many more: pip install spandrel, and try again.') from error
    state_dict = spandrel.canonicalize_state_dict(canonicalize(content, source=file))
    try:
        found = spandrel.MAIN_REGISTRY.load(state_dict)
    except Exception as error:  # each architecture reads shapes in its own way
        shown = '' if isinstance(error, spandrel.UnsupportedModelError) else f' ({reason(error)})'
        raise UserError(f'{file.name} is of no network that is known here or to spandrel{shown}: build it yourself, '
                        'and give Upscaler the module.') from error
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise UserError(f'{file.name} is a {found.architecture.name}, which takes more than a picture.')
    broken = not_finite(found.model.state_dict())
    if broken:
        raise UserError(f'{file.name}: {broken}: they come from a training that went wrong; take an earlier file.')
    return found


def size_of(source: object) -> tuple[int, int]:
    """The least side of a descriptor's pictures, and of what sides have to be multiples; 1, 1 of anything else."""
    wanted = getattr(source, 'size_requirements', None)
    return (1, 1) if wanted is None else (max(wanted.minimum, 1), wanted.multiple_of)
