"""Looking a name up in a BasicSR registry."""
from __future__ import annotations

from typing import Any

from basicsr_amsr.errors import UnknownName, suggestion


def get(self: Any, name: str, suffix: str = 'basicsr') -> Any:
    """The object registered as `name`, else as `name_suffix`.

    Raises:
        UnknownName: neither is registered; the message lists the near names. It is a KeyError, as in BasicSR.
    """
    for key in (name, f'{name}_{suffix}'):
        if key in self:
            return self._obj_map[key]
    raise UnknownName(f"No {self._name} named '{name}'. {suggestion(name, self.keys())}")
