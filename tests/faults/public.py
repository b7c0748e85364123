"""Mistakes that people have made in public: how a case is described, tried, and what it has to end in."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from basicsr.archs import build_network
from basicsr.utils import logger

from tests.cli.conftest import NETWORK, options_to_test, options_to_train
from tests.faults.lines import contents

BASICSR, ESRGAN = 'https://github.com/XPixelGroup/BasicSR/issues/', 'https://github.com/xinntao/Real-ESRGAN/issues/'
RRDB = {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
OLD_NAMES = [('body.0.rdb', 'RRDB_trunk.0.RDB'), ('conv_body.', 'trunk_conv.'), ('conv_up', 'upconv'),
             ('conv_hr.', 'HRconv.')]


class Case(NamedTuple):
    """A mistake.

    Attributes:
        link: where somebody made it.
        says: what it is.
        command: that it is tried through.
        make: writes the files and returns options, or the text of the option file, and further words.
        parts: of the line that it gets; None where it works.
    """

    link: str
    says: str
    command: str
    make: Callable[[], Any]
    parts: tuple[str, ...] | None


def register(cases: list[Case]) -> Callable[..., Any]:
    """A decorator that adds to `cases` what the decorated function makes: link, says, command, parts of the line."""
    def case(link: str, says: str, command: str, *parts: str, works: bool = False) -> Any:
        assert link.startswith('https://github.com/')

        def add(make: Callable[[], Any]) -> Callable[[], Any]:
            cases.append(Case(link, says, command, make, None if works else parts))
            return make

        return add

    return case


def to_train(*place: Any, **more: Any) -> dict[str, Any]:
    """Options to train; `place` leads to a value, the last one."""
    return changed(options_to_train(**more), *place)


def to_test(*place: Any, **more: Any) -> dict[str, Any]:
    """Options to test."""
    return changed(options_to_test(**more), *place)



def changed(options: dict[str, Any], *place: Any) -> dict[str, Any]:
    if place:
        *keys, last, value = place
        held: Any = options
        for key in keys:
            held = held[key]
        held[last] = value
    return options


def weights(network: dict[str, Any] = NETWORK) -> dict[str, torch.Tensor]:
    return build_network(dict(network)).state_dict()


def with_weights(**content: Any) -> dict[str, Any]:
    torch.save(content or {'params': weights()}, 'net.pth')
    return to_test(path={'pretrain_network_g': 'net.pth'})


def assert_said(basicsr: Any, one: Case) -> None:
    """The case ends in its line and exit code 2, and leaves nothing behind; or it works."""
    made = one.make()
    options, *words = made if isinstance(made, tuple) else (made,)
    if isinstance(options, str):
        Path('tiny.yml').write_text(options)
        options, words = None, ['-opt', 'tiny.yml', *words]
    logger.initialized_logger.pop('basicsr', None)
    before = contents()
    code, out, err = basicsr(one.command, options, *words)
    assert 'Traceback' not in err, one.link
    if one.parts is None:
        assert code == 0, (one.link, err)
        return
    lines = [line for line in err.splitlines() if line.startswith('basicsr: error: ')]
    assert code == 2 and lines, (one.link, code, out, err)
    assert any(all(part in line for part in one.parts) for line in lines), lines
    assert [path for path in contents() if path not in before and path not in ('experiments', 'results')] == []
