"""Export of modules that hold recurrent layers: one native ONNX operator a layer, whatever surrounds them.

`export_onnx` takes any nn.Module, and has the order of all steps. `dynamic_axes` checks the arguments; `capture` runs
torch.export while `interception` puts our code in place of PyTorch's recurrent modules, packing (`packing`) and other
functions, and `held_values` answers what code asks of the module's own numbers. What is left is one of
`layer_operators` for each layer, which are translated to ONNX beside the operators in `rnnserve.export.operators`.

`refusals` and `carried_state` refuse what would be exported wrong; `program_passes` works on the captured program,
`exact_passes` and `naming` on the graph. `value_trials` compares the exported model with the module at other sizes.

`roll` makes scans of the loops in the user's own code, where these fix the number of steps. `scan` is a loop over steps
of any kind: two markers are in the captured program where a step begins and ends, which become ONNX's Scan.

Door: `__all__`, `carried_state`, `dynamic_axes`, `export`, `interception`, `longest_rows`, `packing`, `scan`.
"""

from rnnserve.export.recurrence.export import export_onnx
from rnnserve.export.recurrence.scan import scan

__all__ = ["export_onnx", "scan"]
