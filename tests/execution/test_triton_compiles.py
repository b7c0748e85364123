"""Triton's compiler needs no GPU: what the interpreter takes, it has to take too."""
import pytest


@pytest.mark.parametrize('dtype', ['fp16', 'bf16', 'fp32'])
def test_the_kernel_compiles_for_hopper(monkeypatch, tmp_path, dtype):
    """To tensor-core instructions, with what follows a convolution, reading and writing by lists."""
    triton = pytest.importorskip('triton')
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from basicsr_amsr.execution.triton.convolution import SHARED_SLOPE, SLOPES, kernel

    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setenv('TRITON_CACHE_DIR', str(tmp_path))
    function = kernel(False)
    tensors = ('values', 'weight', 'bias', 'slope_before', 'residual', 'slope_after', 'out')
    types = {**dict.fromkeys(tensors, f'*{dtype}'), **dict.fromkeys(('index', 'residual_index', 'out_index'), '*i32'),
             'partial': '*fp32', 'scale': 'fp32',
             **dict.fromkeys(('pixels', 'values_stride', 'residual_stride', 'out_stride', 'weight_out', 'weight_in',
                              'weight_row', 'weight_col'), 'i32')}
    constants = {'CHANNELS': 50, 'OUT': 24, 'SIZE': 8, 'LIST': 100, 'LIST_WIDTH': 10, 'TAP_ROWS': 3, 'TAP_COLS': 3,
                 'STEP_ROWS': 1, 'STEP_COLS': 1, 'BEFORE': SLOPES, 'AFTER': SHARED_SLOPE, 'PRECISION': 'tf32',
                 'WIDEN': False, 'BLOCK_PIXELS': 128, 'BLOCK_OUT': 32, 'BLOCK_IN': 32}
    names = function.arg_names
    source = ASTSource(function, {name: types.get(name, 'constexpr') for name in names},
                       {(names.index(name),): value for name, value in constants.items()})
    compiled = triton.compile(source, target=GPUTarget('cuda', 90, 32), options={'num_warps': 4, 'num_stages': 3})
    assert 'mma' in compiled.asm['ptx'] and compiled.asm['cubin']
