"""Checkpoints that are none, that would run code, whose numbers are none, or that unpack to more than memory holds."""
from __future__ import annotations

import io
import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from basicsr_amsr.amsr.calibration.choose import calibrate
from tests.infer.abuse.outcome import GOOD, Place, Verdict, results, wrong
from tests.infer.conftest import picture

RAN = 'ran'  # a file that code in a checkpoint would make


class Evil:
    """Unpickled, it runs a command."""

    def __init__(self, call: Callable[..., object], *given: object) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.given


def saved(content: Any, legacy: bool = False) -> bytes:
    """As torch.save writes it."""
    held = io.BytesIO()
    torch.save(content, held, _use_new_zipfile_serialization=not legacy)
    return held.getvalue()


def state_of(place: Place) -> dict[str, torch.Tensor]:
    """The weights, each of its own storage."""
    return {key: value.clone() for key, value in place.net.state_dict().items()}


def formats(place: Place) -> dict[str, bytes]:
    """The weights in each format that is read."""
    state = state_of(place)
    return {'m.pth': saved({'params': state}), 'm.ckpt': saved({'state_dict': state, 'epoch': 3}),
            'm.pt': saved(state, legacy=True), 'm.safetensors': save(state)}


def one(place: Place, name: str, content: bytes, fail: bool | None, what: str, quiet: bool = True) -> Verdict:
    """Enlarge with these weights."""
    case = place.case()
    (case / name).write_bytes(content)
    code = (0, 2) if fail is None else (2,) if fail else (0,)
    found = place.infer(case, '--weights', case / name)
    named = [name] if found.code == 2 and 'gives values that are not finite' not in found.err else []
    trouble = wrong(found, case / 'out', code, named, results(GOOD) if found.code == 0 else [], quiet)
    if not trouble and any((folder / RAN).exists() for folder in (case, Path())):
        trouble = 'code ran'
    return Verdict(f'{what} {name}', trouble)


def truncated(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Of each format, cut at several lengths, and with bytes behind."""
    for name, data in formats(place).items():
        lengths = {0, 1, 7, 8, 9, 100, len(data) // 2, len(data) - 1}
        lengths |= {draw.randrange(len(data)) for _ in range(40 if much else 0)}
        for length in sorted(lengths if much else draw.sample(sorted(lengths), 5)):
            yield one(place, name, data[:length], True, f'{length} bytes of')


def flipped(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """One to twenty bytes are others; those of a format without checksums may go unseen."""
    for name, data in formats(place).items():
        for number in range(150 if much else 4):
            changed = bytearray(data)
            most = len(changed) if number % 2 else min(len(changed), 4096)  # half of them in the head
            for _ in range(draw.choice([1, 1, 2, 4, 20])):
                changed[draw.randrange(most)] = draw.randrange(256)
            yield one(place, name, bytes(changed), None, f'{number}:')


def wrong_suffixes(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Weights under the name of another format, which serve, and what holds none."""
    for name, data in formats(place).items():
        for other in ('x.pth', 'x.pt', 'x.ckpt', 'x.safetensors') if much else ('x.ckpt', 'x.safetensors'):
            yield one(place, other, data, False, f'{name} as')
    image = io.BytesIO()
    with zipfile.ZipFile(image, 'w') as archive:
        archive.writestr('readme.txt', 'no weights')
    texts = {'zip': image.getvalue(), 'picture': (place.case() / 'in' / GOOD[0]).read_bytes(), 'text': b'no weights\n',
             'pickle': pickle.dumps({'params': {'a': [1.0]}}), 'number': saved(3), 'list': saved([torch.ones(3)]),
             'none': saved({}), 'names': saved({1: torch.ones(3)}), 'other': saved({'a.weight': torch.ones(3, 3)})}
    for what, data in texts.items():
        for name in ('x.pth', 'x.safetensors') if much else ('x.pth',):
            yield one(place, name, data, True, what)


def numbers(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Weights that are NaN, infinite, huge, or of another type."""
    for value in (float('nan'), float('inf'), -float('inf'), 3e38):
        for everywhere in (True, False):
            state = state_of(place)
            for tensor in state.values() if everywhere else [state[draw.choice(sorted(state))]]:
                tensor.view(-1)[slice(None) if everywhere else slice(1)] = value
            may = None if value == 3e38 and not everywhere else True
            yield one(place, 'm.pth', saved({'params': state}), may, f'{value} {"all" if everywhere else "one"}')
    for dtype, fail in ((torch.float16, False), (torch.bfloat16, False), (torch.float64, False), (torch.int32, None),
                        (torch.complex64, True), (torch.bool, None)):
        state = {key: value.to(dtype) for key, value in state_of(place).items()}
        yield one(place, 'm.pth', saved({'params': state}), fail, str(dtype))


def shapes(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Weights of other shapes, none, or some too few."""
    names = sorted(state_of(place))
    for name in names if much else draw.sample(names, 3):
        tensor = state_of(place)[name]
        for what, other in (('number', torch.tensor(1.0)), ('empty', tensor[:0]), ('one', tensor[:1]),
                            ('flat', tensor.flatten()), ('twice', torch.cat([tensor, tensor])), ('absent', None),
                            ('5 dims', tensor[(None,) * (5 - tensor.ndim)]), ('list', tensor.tolist())):
            state: dict[str, Any] = {**state_of(place), name: other}
            if other is None:
                del state[name]
            same = isinstance(other, torch.Tensor) and other.shape == tensor.shape
            may = None if same or name == 'mean' else True
            yield one(place, 'm.pth', saved({'params': state}), may, f'{name} {what} of', quiet=False)


def code(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Checkpoints that run code where they are unpickled as PyTorch once did."""
    state = state_of(place)
    calls = {'system': (os.system, f'touch {RAN}'), 'exec': (exec, f"open('{RAN}', 'w')"),
             'eval': (eval, f"open('{RAN}', 'w')"), 'getattr': (getattr, 'text', 'upper'),
             'mkdir': (Path.mkdir, Path(RAN)), 'load': (torch.load, 'weights.pth'),
             'hub': (torch.hub.load_state_dict_from_url, 'file:///dev/null')}
    for what, (call, *given) in calls.items():
        for legacy in (False, True):
            evil = Evil(call, *given)
            yield one(place, 'm.pth', saved({'params': state, 'more': evil}, legacy), True, f'{what} beside')
            yield one(place, 'm.pth', saved({'params': {**state, 'a': evil}}, legacy), True, f'{what} among')
    yield one(place, 'm.pt', pickle.dumps(Evil(os.system, f'touch {RAN}')), True, 'bare pickle')
    yield one(place, 'm.pth', saved(place.net), True, 'a whole module')
    yield one(place, 'm.pth', _rebuilt(), True, 'a tensor from a function')
    for name in ('m.amsr', 'm.pth'):
        case = place.case()
        (case / name).write_bytes(saved({'format': Evil(os.system, f'touch {RAN}')}))
        trouble = wrong(place.infer(case, '--calibration', case / name), case / 'out', (2,), [name], quiet=True)
        yield Verdict(f'a calibration {name}', trouble or ('code ran' if Path(RAN).exists() else None))


def _rebuilt() -> bytes:
    """A pickle whose protocol calls os.system by name, as no library writes it."""
    return b'cposix\nsystem\n(S\'touch ' + RAN.encode() + b'\'\ntR.'


def bombs(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Few bytes that unpack to very many, or are walked for ever."""
    state, first = state_of(place), next(iter(place.net.state_dict()))
    wide = {**state, first: torch.zeros(1).expand(10**6, 10**6, 3, 3)}
    yield one(place, 'm.pth', saved({'params': wide}), True, 'one number as 10^13')
    alone = {'a.weight': torch.zeros(1).expand(10**6, 10**6)}
    yield one(place, 'm.pth', saved({'params': alone}), True, 'the same alone')
    nested: Any = {'epoch': 3}
    for _ in range(60):
        nested = dict.fromkeys(('params', 'params_ema', 'state_dict', 'model'), nested)
    yield one(place, 'm.pth', saved(nested), True, '4^60 dictionaries')
    around: dict[str, Any] = {}
    around['params'] = around
    yield one(place, 'm.pth', saved(around), True, 'a dictionary in itself')
    deep: Any = torch.zeros(1)
    for _ in range(300):
        deep = {'params': deep}
    yield one(place, 'm.pth', saved(deep), True, '300 dictionaries deep')
    yield one(place, 'm.pth', _zip_bomb(saved({'params': state}), 256 if much else 8), True, 'zeros in a zip')
    for said in (2**40, 2**63 - 1):
        yield one(place, 'm.safetensors', struct.pack('<Q', said) + b'{}', True, f'head of {said}')
    head = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    yield one(place, 'm.safetensors', struct.pack('<Q', len(head)) + head, True, '10^12 numbers')
    yield one(place, 'm.safetensors', struct.pack('<Q', 200000) + b'{' + b'"a":{' * 30000, True, 'deep head')


def _zip_bomb(plain: bytes, blocks: int) -> bytes:
    """The archive with an entry of so many times 16 MiB of zeros, a thousandth of which it takes."""
    held = io.BytesIO()
    with (zipfile.ZipFile(io.BytesIO(plain)) as given,
          zipfile.ZipFile(held, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as new):
        for entry in given.infolist():
            if entry.filename.endswith('data/0'):
                with new.open(entry.filename, 'w', force_zip64=True) as file:
                    for _ in range(blocks):
                        file.write(bytes(2**24))
            else:
                new.writestr(entry, given.read(entry))
    return held.getvalue()


def calibrations(place: Place, draw: random.Random, much: bool) -> Iterator[Verdict]:
    """Calibrations cut short, with other bytes, or of another network."""
    images = [torch.from_numpy(picture(40, 36, seed=seed) / 255).float().permute(2, 0, 1)[None] for seed in range(3)]
    whole = place.folder / 'whole.amsr'
    calibrate(place.net, images).save(whole)
    data = whole.read_bytes()
    for number in range(100 if much else 8):
        changed = bytearray(data)
        if number % 2:
            del changed[draw.randrange(len(changed)):]
        else:
            for _ in range(draw.choice([1, 4, 20])):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
        case = place.case()
        (case / 'm.amsr').write_bytes(changed)
        found = place.infer(case, '--calibration', case / 'm.amsr')
        yield Verdict(f'{number}: {"cut" if number % 2 else "other bytes"}', wrong(
            found, case / 'out', (2,) if number % 2 else (0, 2), ['m.amsr'] if number % 2 else [],
            results(GOOD) if found.code == 0 else [], quiet=True))
