"""Random numbers of one sample, and of the whole process: drawn from a seed, saved, put back."""
from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def derive(seed: int, *place: int) -> np.random.SeedSequence:
    """Independent random numbers for each place, such as (epoch,) or (epoch, number of the sample)."""
    return np.random.SeedSequence(seed, spawn_key=place)


def _words(seed: int, place: tuple[int, ...]) -> np.ndarray:
    """Words of their own for each generator: Python's and NumPy's are the same Mersenne twister."""
    return derive(seed, *place).generate_state(10)


def python_random(seed: int, *place: int) -> random.Random:
    """A generator that draws what Python's `random` draws inside `drawn_from`; it is no other thread's."""
    return random.Random(_words(seed, place)[:4].tobytes())


@contextmanager
def drawn_from(seed: int, *place: int) -> Iterator[None]:
    """Inside, Python's, NumPy's and torch's CPU generators follow from the seed and the place; afterwards they are as
    before. No CUDA generator is touched, so that data workers initialise no CUDA."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = _words(seed, place)
    try:
        random.seed(words[:4].tobytes())
        np.random.seed(words[4:8])
        torch.default_generator.manual_seed(int.from_bytes(words[8:].tobytes(), 'little'))
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def capture() -> dict[str, Any]:
    """The state of every random generator of this process, as lists, numbers and tensors (weights-only loadable)."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        'python': [version, list(internal), gauss],
        'numpy': [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss),
                  float(cached)],
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def restore(state: dict[str, Any]) -> None:
    """Put back what `capture` returned; CUDA devices that are not there now are passed over."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state['torch'])
    for device, cuda in zip(range(torch.cuda.device_count()), state['cuda'], strict=False):
        torch.cuda.set_rng_state(cuda, device)


@contextmanager
def untouched() -> Iterator[None]:
    """Afterwards every random generator of this process is as before."""
    before = capture()
    try:
        yield
    finally:
        restore(before)
