"""Operators that cost no multiply-accumulate by convention, why that is, and why others are not counted."""
from __future__ import annotations

import torch

CREATION = """
    arange empty empty_like empty_permuted empty_strided eye full full_like linspace new_empty new_empty_strided
    new_full new_ones new_zeros ones ones_like rand rand_like randint randn randn_like randperm scalar_tensor zeros
    zeros_like bernoulli bernoulli_ normal_ uniform_ random_ fill_ zero_ native_dropout fill zero hann_window
    exponential exponential_ multinomial normal normal_functional poisson randint_like uniform tril_indices
    triu_indices
"""
MOVEMENT = """
    _local_scalar_dense _pin_memory _to_copy _unsafe_view block_diag cat channel_shuffle clone col2im constant_pad_nd
    copy copy_ detach_ flip gather im2col index index_add index_add_ index_copy index_copy_ index_fill index_fill_
    index_put index_put_ index_select _unsafe_index _unsafe_index_put lift lift_fresh lift_fresh_copy masked_fill
    masked_fill_ masked_scatter masked_scatter_ masked_select max_unpool2d nonzero nonzero_static pixel_shuffle
    pixel_unshuffle put put_ reflection_pad1d reflection_pad2d reflection_pad3d repeat repeat_interleave
    replication_pad1d replication_pad2d replication_pad3d resize_ roll rot90 scatter scatter_ scatter_add scatter_add_
    scatter_reduce scatter_reduce_ select_scatter set_ slice_scatter stack take tril triu _upsample_nearest_exact2d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d embedding one_hot as_strided_ as_strided_scatter
    diag_embed diagonal_scatter index_reduce index_reduce_ max_unpool3d resize resize_as resize_as_ squeeze_ t_
    transpose_ tril_ triu_ unsafe_split unsafe_split_with_sizes unsqueeze_ _index_put_impl _index_put_impl_ _chunk_cat
    _upsample_nearest_exact1d _upsample_nearest_exact3d
"""
# Element by element, though PyTorch does not tag them so.
ELEMENTWISE = """
    abs_ addr binary_cross_entropy binary_cross_entropy_with_logits complex copysign_ eq_ floor_divide floor_divide_ ge_
    gelu_ gt_ hardswish hardswish_ heaviside heaviside_ huber_loss le_ log_sigmoid_forward lt_ mish_ mse_loss ne_ polar
    rrelu_with_noise rrelu_with_noise_ rsub smooth_l1_loss soft_margin_loss threshold_ xlogy_
"""
REDUCTION = """
    all allclose amax amin aminmax any argmax argmin count_nonzero cummax cummin cumprod cumsum equal histc
    is_same_size linalg_vector_norm logsumexp max mean median min nanmedian norm prod std std_mean sum var var_mean
    kthvalue searchsorted bucketize sort topk unique_dim _unique2 bincount _unique cumprod_ cumsum_ dense_dim
    is_coalesced is_pinned isin logcumsumexp mode nansum trace unique_consecutive
"""
NORMALISATION = """
    _batch_norm_no_update _batch_norm_with_update _fused_rms_norm _log_softmax _native_batch_norm_legit
    _native_batch_norm_legit_no_training _softmax _safe_softmax batch_norm_elemt cudnn_batch_norm glu
    miopen_batch_norm native_batch_norm native_group_norm native_layer_norm
"""
POOLING = """
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d avg_pool1d
    avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices mkldnn_adaptive_avg_pool2d mkldnn_max_pool2d
"""

REASONS = {'creates a tensor': CREATION, 'moves data': MOVEMENT, 'element by element': ELEMENTWISE,
           'reduction': REDUCTION, 'normalisation': NORMALISATION, 'pooling': POOLING}
FREE = {f'aten::{name}': reason for reason, table in REASONS.items() for name in table.split()}
FREE_NAMESPACES = frozenset({'prim', 'profiler', 'c10d', '_c10d_functional'})
VIEW = 'view'

UNKNOWN = {
    'upsample': 'weighted interpolation: counters disagree on its cost',
    'grid_sampler': 'weighted interpolation: counters disagree on its cost',
    'fft': 'Fourier transform: not a matrix product',
    'lstm': 'recurrent layer: no handle',
    'gru': 'recurrent layer: no handle',
    'rnn': 'recurrent layer: no handle',
}


def why_free(func: torch._ops.OpOverload) -> str | None:
    """Why an operator costs no multiply-accumulate; None where that is not known."""
    if func.is_view:
        return VIEW
    if func._schema.name in FREE:
        return FREE[func._schema.name]
    if torch.Tag.pointwise in func.tags:
        return 'element by element'
    return "PyTorch's own bookkeeping" if func.namespace in FREE_NAMESPACES else None


def why_uncounted(name: str) -> str:
    """Why an operator that is not known to be free has no MACs."""
    namespace, operator = name.split('::', 1)
    if namespace != 'aten':
        return 'custom operator: no handle'
    return next((reason for part, reason in UNKNOWN.items() if part in operator), 'no handle')
