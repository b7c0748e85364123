"""A training's checkpoint becomes weights with a card."""
import hashlib

import pytest
import torch

from basicsr_amsr import load_pretrained
from basicsr_amsr.weights.shipping import main
from tests.mga.toy import registered

CARD = """---
network: {{type: MGA, backbone: {{type: Toy, upscale: 2, num_feat: {num_feat}}}, variant: {variant}, k: 3}}
sha256: to be filled in
licence: MIT
origin: trained here
---
# sha256: of a heading it is none
"""


@pytest.fixture
def checkpoint(tmp_path):
    """What a training with a moving average leaves, in half precision."""
    from basicsr_amsr.mga.network import MGA

    net = MGA(registered()).half()
    plain = {name: torch.zeros_like(value) for name, value in net.state_dict().items()}
    torch.save({'params': plain, 'params_ema': net.state_dict()}, tmp_path / 'net_g_latest.pth')
    return net


def ship(folder):
    return main([str(folder / 'net_g_latest.pth'), str(folder / 'Own.pth')])


def test_weights_alone_in_float32_beside_a_card_with_their_checksum(tmp_path, checkpoint, capsys):
    (tmp_path / 'Own.md').write_text(CARD.format(num_feat=8, variant='A'))
    assert ship(tmp_path) == 0
    content = torch.load(tmp_path / 'Own.pth', weights_only=True)
    assert list(content) == ['params'] and content['params'].keys() == checkpoint.state_dict().keys()
    for name, value in checkpoint.state_dict().items():
        shipped = content['params'][name]
        assert shipped.dtype == (torch.float32 if value.is_floating_point() else value.dtype)
        assert shipped.is_contiguous() and torch.equal(shipped, value.to(shipped.dtype))
    checksum = hashlib.sha256((tmp_path / 'Own.pth').read_bytes()).hexdigest()
    text = (tmp_path / 'Own.md').read_text()
    assert f'\nsha256: {checksum}\n' in text and '# sha256: of a heading' in text
    assert checksum in capsys.readouterr().out
    net = load_pretrained(tmp_path / 'Own.pth')
    assert net.variant == 'A' and load_pretrained(tmp_path / 'Own.pth', variant='M').k == 3
    with torch.no_grad():
        assert net(torch.rand(1, 3, 9, 10)).shape == (1, 3, 18, 20)
    assert ship(tmp_path) == 0  # again: the same bytes
    assert hashlib.sha256((tmp_path / 'Own.pth').read_bytes()).hexdigest() == checksum


def test_mistakes_are_one_line_and_write_nothing(tmp_path, checkpoint, capsys):
    assert ship(tmp_path) == 2 and 'Own.md first' in capsys.readouterr().err
    card = CARD.format(num_feat=6, variant='M')
    (tmp_path / 'Own.md').write_text(card)
    assert ship(tmp_path) == 2
    error = capsys.readouterr().err
    assert 'does not fit MGA' in error and error.count('\n') == 1
    assert (tmp_path / 'Own.md').read_text() == card and not (tmp_path / 'Own.pth').exists()
