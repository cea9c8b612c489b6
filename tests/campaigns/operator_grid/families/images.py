"""Operators on images (batch, channels, steps, features), as convolutional front ends of recurrent layers have them.

Each is tried with any number of rows, and with any number of steps: a spectrogram's.
"""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator
from campaigns.operator_grid.values import ROWS

_PLANES = torch.stack([ROWS, ROWS.flip(1), ROWS * 0.5, ROWS + 1], 1)  # (batch, 4, 6)
_IMAGES = torch.stack([_PLANES, -_PLANES], 1)
_FINITE = _IMAGES[ROWS.isfinite().all(1) & (ROWS.abs() < 200).all(1)]

_SQUARES_OVERFLOW = "of numbers whose squares overflow, where eager gives nan"


def _sum(x):
    return x.abs().sum((1, 2, 3), keepdim=True)


def _ones(x, *shape):
    return torch.ones(*shape, dtype=x.dtype)


def _windowed(name, compute, **attributes):
    return Operator(name, compute, terms=_sum, **attributes)


def _operators(*, of_steps):
    """Return the operators for all values and any number of rows, or for finite values and any number of steps."""
    return [
        _windowed("conv2d(padding=1)", lambda x: F.conv2d(x, _ones(x, 3, 2, 3, 3), padding=1)),
        _windowed("conv2d(stride=(1, 2))", lambda x: F.conv2d(x, _ones(x, 3, 2, 2, 3), stride=(1, 2))),
        _windowed("conv2d(groups=2)", lambda x: F.conv2d(x, _ones(x, 4, 1, 3, 3), padding=1, groups=2)),
        _windowed("conv_transpose2d", lambda x: F.conv_transpose2d(x, _ones(x, 2, 3, 2, 2), stride=2)),
        _windowed("conv3d", lambda x: F.conv3d(x[:, :, None], _ones(x, 3, 2, 1, 3, 3), padding=(0, 1, 1))[:, :, 0]),
        Operator("max_pool2d(2)", lambda x: F.max_pool2d(x, 2)),
        Operator("max_pool2d(3, 2, ceil_mode=True)", lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True)),
        Operator(
            "max_pool2d(2, return_indices=True)",
            lambda x: F.max_pool2d(x, 2, return_indices=True),
            refused="ONNX cannot compute its indices",
        ),
        _windowed("avg_pool2d(2)", lambda x: F.avg_pool2d(x, 2)),
        _windowed(
            "avg_pool2d(3, 2, 1, count_include_pad=False)", lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        ),
        Operator(
            "avg_pool2d(2, divisor_override=3)",
            lambda x: F.avg_pool2d(x, 2, divisor_override=3),
            refused="ONNX has no divisor_override",
        ),
        _windowed("avg_pool3d(2)", lambda x: F.avg_pool3d(x[:, :, None], (1, 2, 2))[:, :, 0]),
        Operator("max_pool3d(2)", lambda x: F.max_pool3d(x[:, :, None], (1, 2, 2))),
        _windowed("adaptive_avg_pool2d(1)", lambda x: F.adaptive_avg_pool2d(x, 1)),
        _windowed(
            "adaptive_avg_pool2d((None, 3))",
            lambda x: F.adaptive_avg_pool2d(x, (None, 3)),
        ),
        Operator("adaptive_max_pool2d(1)", lambda x: F.adaptive_max_pool2d(x, 1)),
        Operator(
            "adaptive_max_pool2d((None, 3))",
            lambda x: F.adaptive_max_pool2d(x, (None, 3)),
            refused="cannot be dynamic" if of_steps else "",
        ),
        *(
            Operator(f"pad(mode={mode!r})", lambda x, mode=mode: F.pad(x, (1, 2, 1, 1), mode=mode))
            for mode in ("constant", "reflect", "replicate", "circular")
        ),
        Operator("upsample(nearest)", lambda x: F.interpolate(x, scale_factor=2, mode="nearest")),
        Operator(
            "upsample(nearest-exact)",
            lambda x: F.interpolate(x, scale_factor=2, mode="nearest-exact"),
            refused="cannot be exported exactly",
        ),
        _windowed("upsample(bilinear)", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
        _windowed("upsample(bicubic)", lambda x: F.interpolate(x, scale_factor=2, mode="bicubic")),
        Operator("unfold(2)", lambda x: F.unfold(x, 2)),
        _windowed("fold", lambda x: F.fold(F.unfold(x, 2), (4, 6), 2), refused="Given output_size" if of_steps else ""),
        Operator("pixel_shuffle", lambda x: F.pixel_shuffle(torch.cat([x, x], 1), 2)),
        Operator(
            "pixel_unshuffle",
            lambda x: F.pixel_unshuffle(x[:, :, :, :4], 2),
            refused="is not divisible by 2" if of_steps else "",
        ),
        Operator(
            "batch_norm",
            lambda x: F.batch_norm(
                x, torch.tensor([1.0, 2.0], dtype=x.dtype), torch.tensor([3.0, 1e-12], dtype=x.dtype)
            ),
            terms=lambda x: x.abs() * 1e6 + 2e6,
        ),
        Operator(
            "instance_norm", lambda x: F.instance_norm(x), terms=lambda x: torch.ones_like(x[:, :1, :1, :1]) * 1e4
        ),
        Operator(
            "group_norm",
            lambda x: F.group_norm(x, 2),
            terms=lambda x: torch.ones_like(x[:, :1, :1, :1]) * 1e4,
            differs="" if of_steps else _SQUARES_OVERFLOW,
        ),
        _windowed("local_response_norm", lambda x: F.local_response_norm(x, 2)),
        Operator(
            "grid_sample",
            lambda x: F.grid_sample(x, torch.zeros(x.shape[0], 2, 2, 2, dtype=x.dtype), align_corners=False),
            terms=_sum,
        ),
        Operator(
            "stft",
            lambda x: torch.stft(
                x[:, 0].flatten(1), 8, 4, window=torch.hann_window(8, dtype=x.dtype), return_complex=True
            ).abs()[:, None],
            refused="computes with complex numbers",
        ),
        Operator(
            "fft", lambda x: torch.view_as_real(torch.fft.fft(x)).flatten(3), refused="computes with complex numbers"
        ),
        Operator(
            "irfft(view_as_complex)",
            lambda x: torch.fft.irfft(torch.view_as_complex(x.reshape(*x.shape[:3], 3, 2)), n=4),
            refused="computes with complex numbers",
        ),
        Operator("hann_window", lambda x: x * torch.hann_window(6, dtype=x.dtype)),
    ]


IMAGES = Family("Images (batch, channels, steps, features)", [_IMAGES], _operators(of_steps=False), tries_nothing=False)
IMAGES_OF_STEPS = Family("Images of any number of steps", [_FINITE], _operators(of_steps=True), axis=2)
