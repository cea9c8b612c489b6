"""The operators whose zeros have another sign than eager's: onnxruntime's Where adds up, and Max and Min compare.

Where(c, x, y) is x * c + y * (1 - c) there, in effect, and -0.0 + 0.0 is 0.0. Of two equal numbers Max and Min take
either. CumSum begins with the first value, to which eager adds 0.0, as it does in attention, and LAPACK where it
solves. Nothing is lost but the sign of an infinity, where the result is divided by.
"""

__all__ = ["SIGNS_LOST"]

_BY_FAMILY = {
    "One float": "expm1|frac|log1p|trunc|fix|special.log1p|special.entr|x // 3.0|x // -0.7|clamp(min=0)",
    "Activations": "logsigmoid|celu|selu",
    "Two floats": (
        "floor_divide|atan2|maximum|minimum|div(rounding_mode='floor')|div(rounding_mode='trunc')|"
        "special.xlog1py|lerp(x, y, 0.3)|x.clamp(y)|x.clamp(max=y)|x.clamp(y, y + 1)|where(x < y, x, y)|add(alpha=0.5)|"
        "where(y > 0, x, log(x))|max, min|lerp(x, x, y)"
    ),
    "Normalisations": "layer_norm|layer_norm(eps=1e-12)|instance_norm",
    "Images (batch, channels, steps, features)": (
        "max_pool2d(2)|max_pool2d((1, 2))|max_pool2d(3, 2, 1)|max_pool3d(2)|adaptive_avg_pool2d((None, 1))|"
        "upsample(bilinear, antialias)|instance_norm"
    ),
    "Images of any number of steps": (
        "max_pool2d(2)|max_pool2d((1, 2))|max_pool2d(3, 2, 1)|max_pool3d(2)|adaptive_avg_pool2d((None, 1))|"
        "upsample(bilinear, antialias)"
    ),
    "Linear algebra and rare operators, of finite rows": "diag_embed|matrix_power",
    "Rows and indices": (
        "max_pool1d|scatter_reduce('amax')|scatter_reduce('amin', include_self=False)|einsum('bs,bt->bst')"
    ),
    "Steps (batch, steps, features), of which there may be none": ("cumsum(1)|topk(1).values"),
    "Shapes and products, of finite rows": (
        "scaled_dot_product_attention(is_causal=True)|scaled_dot_product_attention, booleans|"
        "scaled_dot_product_attention, booleans of keys|scaled_dot_product_attention, floats|"
        "scaled_dot_product_attention, low floats"
    ),
    "Rows": "msort|topk(2).values|topk(2, largest=False).values",
}

SIGNS_LOST = {(family, name) for family, names in _BY_FAMILY.items() for name in names.split("|")}
"""By family and operator."""
