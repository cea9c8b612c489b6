"""The operators that torch takes apart before it translates: what of them the grid does not try, and why.

Of what they are taken apart into, the grid tries each operator (`completeness.translated`), or the export refuses it.
"""

import re
from collections.abc import Set

import torch
from torch.onnx._internal.exporter import _decomp

__all__ = ["decomposed", "not_tried_because"]

_BY_PATTERN = {
    "in place, which torch.export makes a function of": r"[a-z0-9]_$|__i\w+__$",
    "of training": r"backward|get_gradients|dropout|_batch_norm_(no|with)_update",
    "of other layouts and of quantised tensors": (
        r"sparse|quantize|fbgemm|mkldnn|qparams|nested|to_dense|smm|sspaddmm|prepack|rowwise_prune|saturate_weight"
    ),
    "of other devices": r"vulkan|xla|cufft|cudnn|miopen|nnpack|_to_cpu",
    "of a tensor's description, no values": (
        r"^is_|zerotensor|batch_dim|_debug|_has_compatible|^can_cast$|^data$|^get_device$|^output_nr$|^promote_types$|"
        r"^result_type$|^retains_grad$|^stride$|^sym_|^_version$|^item$|^lift(_fresh)?$|^_shape_as_tensor$|^_dim_arange$"
    ),
    "of torch's own tests": r"^_test_",
    "random: an export that draws is refused": (
        r"^(cauchy|exponential|geometric|log_normal|uniform|rrelu|_sobol_engine_draw)$"
    ),
    "of images and spectra": r"2d|3d|^fft_|affine_grid|channel_shuffle|^istft$|^histogramdd$",
    "inner forms of what is tried, and factorisations that have no form in ONNX": (
        r"^linalg_|^_lu_with_info$|^lu_solve$|^(pinverse|orgqr|qr|svd|nuclear_norm|matrix_exp)$"
    ),
    "special functions, which have no form in ONNX": (
        r"^special_(bessel|gammainc|multigammaln|psi|spherical|zeta|gammaln|polygamma)|^igammac?$|^mvlgamma$|^lcm$"
    ),
    "a view or a copy of what is tried": (
        r"_copy$|_scatter$|^_reshape|^(broadcast_tensors|resize_as|unsafe_split_with_sizes|sum_to_size|zero|as_strided)$|"
        r"^(block_diag|combinations|column_stack|flipud|row_stack|_chunk_cat|pad_sequence|conj_physical|chalf|isreal)$|"
        r"flatten_dense_tensors$|^expand_as$"
    ),
    "recurrent: translated by rnnserve.export.recurrence": r"cell$|^rnn_(relu|tanh)$|_pad_packed_sequence$",
    "another name, or an inner form, of what is tried": (
        r"^__(and|or|xor)__$|^_cast_|^_convolution|^_pad_|^_addmm_activation$|^_euclidean_dist$|^_fused_rms_norm$|"
        r"^_safe_softmax$|^_scaled_dot_product_attention_math$|^_unsafe_masked_index|^_upsample_nearest_exact1d$|"
        r"^_weight_norm|^(arctan2|clip|not_equal|dist|frobenius_norm|ger|inner|vdot|kron|chain_matmul|trapz)$|"
        r"^log_sigmoid_forward$|^(nll_loss_nd|nonzero_numpy|norm_except_dim|cumulative_trapezoid|renorm)$|"
        r"^(cosine_embedding_loss|triplet_margin_loss|multi_?label_margin_loss\w*|multilabel_margin_loss\w*)$|"
        r"^multi_margin_loss$|^special_(expit|ndtr)$|^(outer|gradient|vander|cov|corrcoef|pdist|ctc_loss)$"
    ),
}


def decomposed() -> Set[str]:
    """Name the operators of aten in the table of decompositions that torch.onnx uses."""
    table = _decomp.create_onnx_friendly_decomposition_table(set())
    overloads = [key for key in table if isinstance(key, torch._ops.OpOverload)]
    return {key._schema.name.partition("::")[2] for key in overloads if key.namespace == "aten"}


def not_tried_because(name: str) -> str:
    """Say why an operator that is taken apart is not tried by its own name; empty where there is no reason."""
    return next((reason for reason, pattern in _BY_PATTERN.items() if re.search(pattern, name)), "")
