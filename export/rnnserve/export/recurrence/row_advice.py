"""What to write in the place of code that cuts rows at their lengths one by one: `x[i, : lengths[i]].flip(0)`."""

import re

__all__ = ["advice_on_rows"]

_CUT = re.compile(r"\[\w+(,\s*|\]\[)\s*:\s*\w*len\w*")
_REVERSED = re.compile(r"flip|reversed|\[::-1\]")

_ALL_STEPS = (
    " It cuts each row at its length: compute all steps of all rows instead, and choose by steps = "
    "torch.arange(x.size(1)) and inside = steps < lengths.unsqueeze(1), (batch, sequence)."
)
_GATHERED = (
    " All rows, each reversed up to its length, are x.gather(1, at.unsqueeze(2).expand_as(x)) with at = "
    "torch.where(inside, lengths.unsqueeze(1) - 1 - steps, steps)."
)


def advice_on_rows(line: str) -> str:
    """Give sentences on a line that cuts rows at their lengths; nothing on another one."""
    if _CUT.search(line) is None:
        return ""
    return _ALL_STEPS + (_GATHERED if _REVERSED.search(line) else "")
