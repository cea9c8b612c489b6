"""`embedding_bag` of rows of ids during a capture: the embedding, a mask, and a sum, a mean or a maximum.

torch translates the operator into a loop over offsets that ends the process of onnxruntime when it is loaded. Rows of
ids (batch, ids) need no offsets.
"""

import torch
from torch import Tensor

from rnnserve.export.errors import UnsupportedModule

__all__ = ["embedding_bag"]


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Do what the function does with rows of ids.

    Args:
        input: (batch, ids) of integers.
        weight: (vocabulary, features).
        offsets: None, for rows.
        max_norm: None: eager would change the weights.
        norm_type: Norm, without a meaning where there is no `max_norm`.
        scale_grad_by_freq: Option of gradients.
        mode: "sum", "mean" or "max" over the ids of a row that are not padding; 0 where all are.
        sparse: Option of gradients.
        per_sample_weights: (batch, ids), a factor for each id; with "sum" only.
        include_last_offset: Option of offsets.
        padding_idx: The id that does not count.

    Returns:
        (batch, features).

    Raises:
        UnsupportedModule: If the bags are not rows, or the function changes its weights.
    """
    del norm_type, scale_grad_by_freq, sparse, include_last_offset
    if offsets is not None or input.dim() != 2:
        raise UnsupportedModule(
            f"embedding_bag got ids of shape {tuple(input.shape)}{' and offsets' if offsets is not None else ''}: bags "
            "that lie one after the other have no form in ONNX that keeps rows apart. Give it rows of ids (batch, ids) "
            "without offsets, shorter ones filled up with padding_idx"
        )
    if max_norm is not None:
        raise UnsupportedModule(
            f"embedding_bag has max_norm={max_norm}: eager changes its weights when it is called, and an ONNX model "
            "keeps no state. Normalise the weights once, before exporting, and leave max_norm out"
        )
    rows = torch.nn.functional.embedding(input, weight)  # (batch, ids, features)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    kept = None
    if padding_idx is not None:
        kept = (input != padding_idx % weight.size(0)).unsqueeze(-1)  # (batch, ids, 1)
        rows = torch.where(kept, rows, 0.0)
    if mode == "max":
        if kept is None:
            return rows.amax(1)
        largest = torch.where(kept, rows, float("-inf")).amax(1)
        return torch.where(kept.any(1), largest, 0.0)
    total = rows.sum(1)
    if mode == "sum":
        return total
    count = input.size(1) if kept is None else kept.sum(1).clamp(min=1)
    return total / count
