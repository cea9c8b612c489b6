"""The operators that torch's exporter translates: which of them the grid tries, and why it skips the others."""

import re
from collections.abc import Set

from onnxscript.function_libs.torch_lib import ops, registration  # noqa: F401 - `ops` registers them

from campaigns.operator_grid.families import FAMILIES

_BY_REASON = {
    "random: an export that draws is refused": (
        "bernoulli dropout multinomial native_dropout normal normal_functional rand rand_like randint randint_like "
        "randn randn_like"
    ),
    "another name, or an inner form, of what is tried": (
        "__lshift__ __rshift__ _log_softmax _native_batch_norm_legit _native_batch_norm_legit_functional "
        "_native_batch_norm_legit_no_training _prelu_kernel _softmax _to_copy _unsafe_index _unsafe_index_put "
        "_unsafe_view alias clamp_max clamp_min concat concatenate constant_pad_nd convolution copy cross_entropy_loss "
        "diagonal_copy divide greater greater_equal index less less_equal lift_fresh_copy linalg_cross "
        "linalg_vector_norm log_sigmoid max_pool1d_with_indices mm multiply native_batch_norm native_group_norm "
        "native_layer_norm nll_loss_forward reflection_pad1d replication_pad1d slice "
        "split_with_sizes subtract sym_size t "
        "true_divide unsafe_split upsample_linear1d upsample_nearest1d view_as view_copy "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention "
        "_scaled_dot_product_flash_attention_for_cpu getitem"
    ),
    "moves or makes elements, and computes nothing": (
        "as_strided atleast_1d atleast_2d atleast_3d broadcast_to detach empty empty_like "
        "empty_strided expand_as fill mH new_empty new_empty_strided new_full new_ones new_zeros "
        "resolve_conj resolve_neg scalar_tensor "
        "sym_storage_offset type_as linspace"
    ),
    "another name, or an inner form, of what is tried of images and spectra": (
        "_conj _fft_c2c _fft_c2r _fft_r2c _upsample_bicubic2d_aa _upsample_bilinear2d_aa blackman_window col2im "
        "complex conj grid_sampler grid_sampler_2d hamming_window im2col max_pool2d_with_indices "
        "max_pool3d_with_indices reflection_pad2d replication_pad2d upsample_bicubic2d upsample_bilinear2d "
        "upsample_nearest2d view_as_complex_copy view_as_real_copy"
    ),
    "of volumes, with three axes of space": (
        "reflection_pad3d replication_pad3d upsample_nearest3d upsample_trilinear3d"
    ),
    "recurrent: translated by rnnserve.export.recurrence": "gru lstm",
    "another name, or an inner form, of a rare operator that is tried": (
        "_embedding_bag _embedding_bag_forward_only _linalg_det _local_scalar_dense _unique _unique2 embedding_renorm "
        "linalg_det unique_dim"
    ),
    "of the GPU: eager has it for bfloat16 in blocks of 16 bytes": "_grouped_mm",
}

UNTRIED = {name: reason for reason, names in _BY_REASON.items() for name in names.split()}
"""By name, why an operator is not in the grid."""


def translated() -> Set[str]:
    """List the aten operators that torch's exporter can translate, without their overloads."""
    names = (name for name, _ in registration.default_registry.items())
    return {name.partition("::")[2].partition(".")[0] for name in names if name.startswith("aten::")}


def tried() -> Set[str]:
    """List the operators that the grid's entries call or name."""
    found: set[str] = set()
    for family in FAMILIES:
        for operator in family.operators:
            found.update(re.findall(r"\w+", operator.name))
            code = getattr(operator.compute, "__code__", None)
            found.update(() if code is None else code.co_names)
    return found | {f"special_{name}" for name in found}
