"""A few HR images of odd sizes, and what a preparation has left on disk."""
from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from basicsr_amsr.data.prepare.settings import Settings

SIZES = {'a': (50, 61, 3), 'b': (64, 72, 3), 'c': (37, 90, 1)}


def write(path: Path, shape, seed=0, dtype=np.uint8) -> np.ndarray:
    """A smooth random PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)
    img = cv2.blur(noise, (3, 3)).reshape(shape)
    assert cv2.imwrite(str(path), img)
    return img


@pytest.fixture
def hr(tmp_path) -> Path:
    """Three images: two in colour, one gray."""
    for seed, (name, shape) in enumerate(SIZES.items()):
        write(tmp_path / f'hr/{name}.png', shape, seed)
    return tmp_path / 'hr'


@pytest.fixture
def make(tmp_path, hr):
    """Settings with defaults for these images."""
    def settings(**more) -> Settings:
        return Settings(**{'hr': (hr,), 'out': tmp_path / 'out', 'scales': (2, 3), **more})

    return settings


@contextmanager
def unwatched(_):
    """No progress bar."""
    yield lambda: None


def read(path: Path) -> np.ndarray:
    """The pixels as stored, (H, W, C)."""
    img = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return img.reshape(*img.shape[:2], -1)


def lmdb_content(folder: Path) -> dict[str, bytes]:
    """All keys and values."""
    env = lmdb.open(str(folder), readonly=True, lock=False)
    with env.begin() as txn:
        content = {key.decode(): bytes(value) for key, value in txn.cursor()}
    env.close()
    return content


def tree(out: Path) -> dict[str, object]:
    """Every file below a folder with its content, that of an LMDB by key; the lock files have none."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob('*')):
        name = path.relative_to(out).as_posix()
        if path.name == 'data.mdb':
            found[name] = lmdb_content(path.parent)
        elif path.is_file() and path.name not in ('lock', 'lock.mdb'):
            found[name] = path.read_bytes()
    return found
