"""Export of modules that hold recurrent layers: one native ONNX operator a layer, whatever surrounds them.

`export_onnx` takes any nn.Module. The steps, each in a module of this package: `dynamic_axes` checks the arguments;
`capture` runs torch.export while `interception` puts our code in place of PyTorch's recurrent modules
(`recurrent_layers`), packing (`packing`) and other functions, and `held_values` answers what code asks of the module's
own numbers. What is left is one of `layer_operators` for each layer, which are translated to ONNX beside the operators
in `rnnserve.export.operators`.

`passes` has the list of what is changed and checked before and after the translation, in order, and names a pass that
fails. Of its files, `refusals`, `carried_state` and `sizes` refuse what would be exported wrong; `program_passes` works
on the captured program, `exact_passes` and `naming` on the graph.

`roll` makes scans of the loops in the user's own code, where these fix the number of steps: it compares traces at a
few sizes, and `value_trials` compares values of the exported model with the module's.
`scan` is a loop over steps of any kind: two markers are in the captured program where a step begins and ends, which
become ONNX's Scan.

The package imports torch, onnx and onnxscript, and of rnnserve only the errors, `source_lines`, `surroundings` and
`rnnserve.export.operators`.

Door: `__all__`, `interception`, `longest_rows`, `packing`, `passes`, `refusals`, `scan`, `sizes`.
"""

from rnnserve.export.recurrence.export import export_onnx
from rnnserve.export.recurrence.scan import scan

__all__ = ["export_onnx", "scan"]
