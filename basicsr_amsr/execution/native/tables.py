"""src/interface.h in ctypes: structs, constants and the functions' types. `ABI` guards against a mismatch."""
from __future__ import annotations

import ctypes
from enum import IntEnum

ABI = 10
PATCH = 4  # edge of a patch in pixels


class Type(IntEnum):
    """The number format of a map's elements, or of an operator's products."""
    FLOAT32 = 0
    BFLOAT16 = 1


class Layout(IntEnum):
    """Where a map's pixels lie."""
    NHWC = 0
    LOCAL = 1
    PLANAR = 2


class StepKind(IntEnum):
    """What an epilogue's step does; interface.h says each in a formula."""
    ADD_VECTOR = 0
    MUL_VECTOR = 1
    SLOPE = 2
    GELU = 3
    GELU_TANH = 4
    SILU = 5
    SIGMOID = 6
    TANH = 7
    AFFINE = 8
    CLAMP = 9
    ADD_MAP = 10
    MUL_MAP = 11
    MUL_PIXEL = 12
    ADD_NEAREST = 13
    MISH = 14


class OpKind(IntEnum):
    """An operator."""
    CONV = 0
    WINOGRAD = 1
    DEPTHWISE = 2
    POINTWISE = 3
    MEAN = 4
    BILINEAR = 5
    NEAREST = 6
    MAX_POOL = 7
    COLLECT = 8
    GATHER = 9
    PREDICT = 10
    WINOGRAD6 = 11
    LAYER_NORM = 12
    ADAPTIVE_MAX_POOL = 13


RESAMPLING = (OpKind.BILINEAR, OpKind.NEAREST, OpKind.MAX_POOL, OpKind.ADAPTIVE_MAX_POOL)  # they read whole maps


_i32, _i64, _f32, _ptr = ctypes.c_int32, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p


class CMap(ctypes.Structure):
    """AmsrMap."""
    _fields_ = [('base', _i64), ('layout', _i32), ('type', _i32), ('height', _i32), ('width', _i32), ('pixel', _i64),
                ('row', _i64), ('plane', _i64), ('image', _i64), ('origins', _ptr)]


class CSource(ctypes.Structure):
    """AmsrSource."""
    _fields_ = [('map', _i32), ('channel', _i32), ('channels', _i32), ('unused', _i32)]


class CStep(ctypes.Structure):
    """AmsrStep."""
    _fields_ = [('kind', _i32), ('map', _i32), ('channel', _i32), ('unused', _i32), ('a', _f32), ('b', _f32),
                ('vector', _ptr)]


class COp(ctypes.Structure):
    """AmsrOp."""
    _fields_ = [('kind', _i32), ('compute', _i32), ('kernel', _i32), ('stride', _i32), ('pad', _i32), ('groups', _i32),
                ('in_channels', _i32), ('out_channels', _i32), ('scale', _i32), ('shuffle', _i32), ('source', _i32),
                ('sources', _i32), ('step', _i32), ('steps', _i32), ('out', _i32), ('out_channel', _i32),
                ('out_lanes', _i32), ('planar', _i32), ('reach', _i32), ('rectified', _i32), ('value', _f32 * 2),
                ('weights', _ptr), ('vector', _ptr)]


class CList(ctypes.Structure):
    """AmsrList."""
    _fields_ = [('patches', _ptr), ('count', _i64), ('near', _ptr)]


class CPass(ctypes.Structure):
    """AmsrPass."""
    _fields_ = [('op', _i32), ('ops', _i32), ('list', _i32), ('stage', _i32)]


class CProgram(ctypes.Structure):
    """AmsrProgram."""
    _fields_ = [('op_table', _ptr), ('source_table', _ptr), ('step_table', _ptr), ('map_table', _ptr),
                ('pass_table', _ptr), ('list_table', _ptr), ('ops', _i32), ('sources', _i32), ('steps', _i32),
                ('maps', _i32), ('passes', _i32), ('lists', _i32), ('threads', _i32), ('chunk', _i32),
                ('images', _i32), ('unused', _i32),
                ('scratch', _ptr), ('scratch_bytes', _i64), ('local_bytes', _i64)]


class CDetail(ctypes.Structure):
    """AmsrDetail."""
    _fields_ = [('image', _ptr), ('row', _i64), ('plane', _i64), ('pixel', _i64), ('channels', _i32),
                ('height', _i32), ('width', _i32), ('half', _i32), ('smooth', _i32), ('squared', _i32),
                ('patch_size', _i32), ('threads', _i32), ('weights', _f32 * 3), ('noise', _f32), ('kernel', _ptr),
                ('map', _ptr), ('means', _ptr), ('scratch', _ptr), ('scratch_bytes', _i64)]


class CAttention(ctypes.Structure):
    """AmsrAttention."""
    _fields_ = [*((name, _ptr) for name in ('query', 'key', 'value', 'out')),
                *((name, _i64) for name in ('query_row', 'key_row', 'value_row', 'out_row')),
                *((name, _ptr) for name in ('near_bias', 'far_bias', 'query_start', 'cell_start', 'key_start', 'whole',
                                            'query_cells', 'query_rows', 'key_cells', 'key_rows', 'query_regions',
                                            'key_regions')),
                *((name, _i32) for name in ('windows', 'heads', 'channels', 'cells', 'area', 'threads', 'bf16')),
                ('scale', _f32), ('scratch', _ptr), ('scratch_bytes', _i64)]


class CStencil(ctypes.Structure):
    """AmsrStencil."""
    _fields_ = [*((name, _ptr) for name in ('rows', 'others', 'index', 'weights', 'bias', 'out')),
                *((name, _i64) for name in ('row', 'other_row', 'out_row')),
                *((name, _i32) for name in ('count', 'cells', 'side', 'kernel', 'channels', 'threads'))]


class CLinear(ctypes.Structure):
    """AmsrLinear."""
    _fields_ = [*((name, _ptr) for name in ('input', 'weights', 'bias', 'factor', 'offset', 'add', 'out')),
                *((name, _i64) for name in ('in_row', 'add_row', 'out_row', 'rows')),
                *((name, _i32) for name in ('inputs', 'outputs', 'threads', 'normalised', 'gelu', 'bf16')),
                ('epsilon', _f32), ('scratch', _ptr), ('scratch_bytes', _i64)]


def declare(library: ctypes.CDLL) -> None:
    """Give the library's functions their types."""
    op, source, program = ctypes.POINTER(COp), ctypes.POINTER(CSource), ctypes.POINTER(CProgram)
    detail, attention, linear = ctypes.POINTER(CDetail), ctypes.POINTER(CAttention), ctypes.POINTER(CLinear)
    for name, result, arguments in (
            ('abi', ctypes.c_int, []), ('available', ctypes.c_char_p, []), ('select', ctypes.c_int, [ctypes.c_char_p]),
            ('selected', ctypes.c_char_p, []), ('lanes', ctypes.c_int, []), ('has_bf16', ctypes.c_int, []),
            ('packed_lanes', ctypes.c_int, [op]), ('lane_channels', None, [op, _ptr]),
            ('packed_bytes', _i64, [op, source]), ('pack', None, [op, source, _ptr, _ptr]),
            ('scratch', _i64, [program]), ('run', ctypes.c_int, [program]), ('allocate', _ptr, [_i64]),
            ('free', None, [_ptr, _i64]), ('checksum', ctypes.c_uint64, [_ptr, _ptr, _i64]),
            ('lists', None, [_ptr, ctypes.c_int, ctypes.c_int, _ptr, _ptr, _ptr, _ptr]),
            ('check_list', ctypes.c_int, [_ptr, _i64, ctypes.c_int, ctypes.c_int, _ptr]),
            ('detail_scratch', _i64, [detail]), ('detail', ctypes.c_int, [detail]),
            ('attention_scratch', _i64, [attention]), ('stencil', None, [ctypes.POINTER(CStencil)]),
            ('attention', ctypes.c_int, [attention]), ('linear_scratch', _i64, [linear]),
            ('linear', ctypes.c_int, [linear])):
        function = getattr(library, f'amsr_{name}')
        function.restype, function.argtypes = result, arguments
