"""safe_load: what torch.save wrote comes back; what runs code, or is damaged, is one line and runs nothing."""
from __future__ import annotations

import os
import pickle
import warnings
from collections import Counter, OrderedDict

import pytest
import torch

from basicsr_amsr.errors import UserError
from basicsr_amsr.safe_load import read_weights_only


class RunsCode:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def one_line(error, path):
    message = str(error.value)
    assert '\n' not in message and str(path) in message
    return message


@pytest.mark.parametrize('zipped', [True, False])
def test_plain_data_comes_back(tmp_path, zipped):
    state = OrderedDict(w=torch.arange(6.).reshape(2, 3), n=torch.tensor(3))
    saved = {'params': state, 'iter': 7, 'milestones': Counter([5, 9]), 'lr': [1e-4], 'name': 'x', 'none': None}
    torch.save(saved, tmp_path / 'a.pth', _use_new_zipfile_serialization=zipped)
    read = read_weights_only(tmp_path / 'a.pth')
    assert read.keys() == saved.keys()
    assert torch.equal(read['params']['w'], state['w']) and read['params']['n'] == 3
    assert read['milestones'] == Counter([5, 9]) and read['lr'] == [1e-4] and read['iter'] == 7


def test_tilde_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    torch.save({'w': torch.ones(2)}, tmp_path / 'a.pth')
    assert torch.equal(read_weights_only('~/a.pth')['w'], torch.ones(2))


def writers():
    yield 'zip', lambda obj, path: torch.save(obj, path)
    yield 'legacy', lambda obj, path: torch.save(obj, path, _use_new_zipfile_serialization=False)
    for protocol in (0, 2, 4):
        yield f'pickle{protocol}', lambda obj, path, p=protocol: path.write_bytes(pickle.dumps(obj, protocol=p))


@pytest.mark.parametrize('write', [pytest.param(w, id=i) for i, w in writers()])
def test_code_is_refused_and_does_not_run(tmp_path, monkeypatch, write):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    path, folder = tmp_path / 'evil.pth', tmp_path / 'made'
    write({'params': RunsCode(folder)}, path)
    with warnings.catch_warnings(), pytest.raises(UserError) as error:
        warnings.simplefilter('error')
        read_weights_only(path)
    one_line(error, path)
    assert not folder.exists()


def test_the_file_would_run_code_when_trusted(tmp_path):
    torch.save({'params': RunsCode(tmp_path / 'made')}, tmp_path / 'evil.pth')
    torch.load(tmp_path / 'evil.pth', weights_only=False)
    assert (tmp_path / 'made').exists()


def test_refusal_names_the_object(tmp_path):
    path = tmp_path / 'net.pth'
    torch.save(torch.nn.Conv2d(1, 1, 1), path)
    with pytest.raises(UserError) as error:
        read_weights_only(path)
    assert 'torch.nn.modules.conv.Conv2d' in one_line(error, path)


@pytest.mark.parametrize('kept', [0, 1, 10, 100, 1000, 0.5, 0.9, 0.999])
def test_truncated(tmp_path, kept):
    path = tmp_path / 'a.pth'
    torch.save({'w': torch.randn(4000)}, path)
    data = path.read_bytes()
    path.write_bytes(data[:kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(UserError) as error:
        read_weights_only(path, 'training state')
    assert 'training state' in one_line(error, path)


@pytest.mark.parametrize('content', [b'<html>not found</html>', b'version https://git-lfs', b'\x89PNG\r\n', b'plain\n'])
def test_another_format(tmp_path, content):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_weights_only(path)
    one_line(error, path)


def test_missing_and_folder(tmp_path):
    with pytest.raises(UserError, match='Checkpoint not found') as error:
        read_weights_only(tmp_path / 'none.pth')
    one_line(error, tmp_path / 'none.pth')
    with pytest.raises(UserError, match='is a folder') as error:
        read_weights_only(tmp_path)
    one_line(error, tmp_path)
