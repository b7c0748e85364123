"""Two buffers in turn for units that follow one another, so that none copies the pixels that it skips."""
from __future__ import annotations

from typing import Any

import torch


class _Kept:
    """An output. It is held by an alias, which shares its memory and its counter of changes."""

    def __init__(self, out: torch.Tensor) -> None:
        self.alias, self.version = out.detach(), out._version

    @property
    def unchanged(self) -> bool:
        """Whether nobody has written into it."""
        return self.alias._version == self.version

    @property
    def unshared(self) -> bool:
        """Whether nobody but this object reaches its memory, by the tensor itself or by a view."""
        storage = self.alias.untyped_storage()
        return torch._C._storage_Use_Count(storage._cdata) == 2  # the alias and the line above

    def is_(self, x: torch.Tensor) -> bool:
        """Whether x is that output, as it was."""
        own = self.alias
        return self.unchanged and (x.data_ptr(), x.shape, x.stride(), x.dtype, x._version) == (
            own.data_ptr(), own.shape, own.stride(), own.dtype, self.version)


class Turns:
    """Finds for a unit the memory of a feature map that holds what its skipped pixels get.

    All units that `where` stands for skip the same pixels, and leave them as they are. So where the input of a unit is
    the output of another, whose input was that of a third, the third's output has the pixels that are skipped; once
    nobody else reaches it and nobody has changed it, it can be written into.
    """

    def __init__(self) -> None:
        self._last: dict[Any, tuple[_Kept, _Kept | None]] = {}

    def free(self, x: torch.Tensor, where: Any) -> torch.Tensor | None:
        """A tensor like x, its skipped pixels those of x, that nobody needs; None where there is none.

        Args:
            x: a unit's input. where: a key for the pixels that it skips.
        """
        if where not in self._last or x.is_inference():
            return None
        last, before = self._last[where]
        if not last.is_(x):
            del self._last[where]
            return None
        return before.alias if before is not None and before.unchanged and before.unshared else None

    def done(self, out: torch.Tensor, where: Any) -> None:
        """After each unit, with its output."""
        if not out.is_inference() and hasattr(torch._C, '_storage_Use_Count'):
            last = self._last.get(where)
            self._last[where] = (_Kept(out), last[0] if last else None)
