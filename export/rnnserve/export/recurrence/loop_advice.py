"""What to write instead of a Python loop over steps: the text that the refusal of such a loop shows."""

from torch import nn

__all__ = ["rewritten_loop"]

_STEPS = {
    True: """\
    def step(state, x):  # (h, c), each (batch, hidden), before the step; x (batch, features), one step of the input
        h, c = {cell}(x, state)
        return (h, c), h  # the state after the step, and the step's output
    zeros = input.new_zeros(input.size(0), {hidden})
    (h_n, c_n), output = scan(step, (zeros, zeros), input, dim={axis})
    return output, h_n, c_n""",
    False: """\
    def step(h, x):  # h, the state before the step, a tensor or a tuple; x (batch, features), one step of the input
        h = {cell}(x, h)
        return h, h  # the state after the step, and the step's output
    h_n, output = scan(step, input.new_zeros(input.size(0), {hidden}), input, dim={axis})
    return output, h_n""",
}


def rewritten_loop(module: nn.Module, axis: int) -> str:
    """Write a forward that calls the module's first cell in a `scan`; of `self.cell` where it has no cell of PyTorch.

    Args:
        module: Module whose Python loop cannot be exported.
        axis: Axis of the input, over which it loops.
    """
    cells = ((name, cell) for name, cell in module.named_modules() if name and isinstance(cell, nn.RNNCellBase))
    name, cell = next(cells, ("cell", None))
    # A number in a name is a position in a list or in nn.Sequential.
    path = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in name.split("."))
    hidden = cell.hidden_size if cell is not None else "self.hidden_size"
    body = _STEPS[isinstance(cell, nn.LSTMCell)].format(cell=f"self{path}", hidden=hidden, axis=axis)
    return f"from rnnserve.export import scan\n\ndef forward(self, input):\n{body}"
