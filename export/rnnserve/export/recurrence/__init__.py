"""Export of modules with recurrent layers: each layer becomes one native ONNX operator, whatever surrounds it.

`export_onnx` takes any nn.Module and runs all steps in order. `dynamic_axes` checks the arguments. `capture` runs
torch.export. During the capture, `interception` replaces PyTorch's recurrent modules, packing functions (`packing`) and
some other functions with our code, and `held_values` supplies the values of the module's own tensors to Python code.
The captured program then contains an operator from `layer_operators` for each layer. These operators and those in
`rnnserve.export.operators` are translated to ONNX.

`refusals` and `carried_state` refuse modules that would be exported wrong. `program_passes` changes the captured
program, and `exact_passes` and `naming` change the ONNX graph. `value_trials` compares the exported model with the
module at other sizes.

`roll` converts loops in the user's own code to scans if these loops fix the number of steps. `scan` is a loop over
steps for any computation. In the captured program, two markers show where its step begins and ends, and they become
ONNX's Scan.

Public: `__all__`, `carried_state`, `dynamic_axes`, `export`, `interception`, `longest_rows`, `packing`, `scan`.
"""

from rnnserve.export.recurrence.export import export_onnx
from rnnserve.export.recurrence.scan import scan

__all__ = ["export_onnx", "scan"]
