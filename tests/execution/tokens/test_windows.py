import pytest
import torch
from basicsr.archs.swinir_arch import SwinTransformerBlock
from hypothesis import given, settings
from hypothesis import strategies as st

from basicsr_amsr import UserError
from basicsr_amsr.execution.tokens.cells import Window
from basicsr_amsr.execution.tokens.windows import places_of, run_windows


def mix(windows: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """A layer that depends on every token of a window and on its number."""
    return windows * 2 + windows.flip(1).cumsum(1) + number[:, None, None]


def dense_masked(layer, x, windows, size, shift):
    """All windows are computed, the active ones are kept."""
    window = Window(size, size, shift, shift)
    parts = window.part(x)
    number = torch.arange(windows[0].numel()).repeat(len(x))
    parts = torch.where(windows.flatten()[:, None, None], layer(parts, number), parts)
    return window.join(parts, *x.shape[1:3])


@settings(max_examples=60, deadline=None)
@given(batch=st.integers(1, 3), rows=st.integers(1, 4), cols=st.integers(1, 4), size=st.integers(1, 5),
       density=st.sampled_from([0.0, 0.3, 1.0]), shifted=st.booleans(), seed=st.integers(0, 99))
def test_equals_the_dense_masked_reference(batch, rows, cols, size, density, shifted, seed):
    torch.manual_seed(seed)
    x = torch.randn(batch, rows * size, cols * size, 3)
    windows = torch.rand(batch, rows, cols) < density
    shift = size // 2 if shifted else 0
    before = x.clone()
    found = run_windows(mix, x, *places_of(x, windows, size, shift))
    assert torch.equal(found, dense_masked(mix, x, windows, size, shift))
    assert torch.equal(x, before)


@pytest.mark.parametrize('shift', [0, 4])
def test_all_windows_of_a_swin_block_are_the_block(shift):
    torch.manual_seed(0)
    block = SwinTransformerBlock(dim=12, input_resolution=(16, 24), num_heads=2, window_size=8, shift_size=shift).eval()
    torch.nn.init.normal_(block.attn.relative_position_bias_table)

    def layer(windows: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
        masks = block.attn_mask
        normed, attended = block.norm1(windows), []
        for window, i in zip(normed, number.tolist(), strict=True):
            attended.append(block.attn(window[None], mask=None if masks is None else masks[i:i + 1])[0])
        windows = windows + torch.stack(attended)
        return windows + block.mlp(block.norm2(windows))

    x = torch.randn(2, 16, 24, 12)
    with torch.no_grad():
        whole = block(x.flatten(1, 2), (16, 24)).view_as(x)
    windows = torch.ones(2, 2, 3, dtype=torch.bool)
    torch.testing.assert_close(run_windows(layer, x, *places_of(x, windows, 8, shift)), whole, rtol=1e-5, atol=1e-5)
    windows[0, 1, 2] = windows[1, 0] = False
    some = run_windows(layer, x, *places_of(x, windows, 8, shift))
    rolled, before, after = (torch.roll(t, (-shift, -shift), dims=(1, 2)) for t in (some, x, whole))
    assert torch.equal(rolled[0, 8:, 16:], before[0, 8:, 16:]) and torch.equal(rolled[1, :8], before[1, :8])
    torch.testing.assert_close(rolled[1, 8:], after[1, 8:], rtol=1e-5, atol=1e-5)


def test_maps_of_another_size_are_refused():
    with pytest.raises(UserError, match='16x24'):
        places_of(torch.rand(1, 8, 8, 3), torch.ones(1, 2, 3, dtype=torch.bool), 8)
