"""Export of modules that hold recurrent layers: one native ONNX operator a layer, whatever surrounds them.

`export_onnx` takes any nn.Module. The steps, each in a module of this package: `dynamic_axes` checks the arguments;
`capture` runs torch.export while `interception` puts our code in place of PyTorch's recurrent modules
(`recurrent_modules`), functions (`recurrent_functions`, `pooling_functions`) and packing (`packing`), which leave one
of `layer_operators` for each layer, and `held_values` answers what code asks of the module's own numbers;
`translations` turns these into ONNX, beside those in `translation_registry`; what torch takes apart before is in
`decomposition_tables`.
`passes` has the list of what is changed and checked before and after that, in order. Of its files, `refusals`,
`carried_state`, `size_probing` and `shape_probing` refuse what would be exported wrong; `fixed_sizes` notes the lines
that fix an axis, and `empty_sizes` finds axes that may have no values; `value_types`, `exact_passes`,
`interface_names`, `axis_names`, `weight_folding`, `float16`, `cast_order` and `exporter_metadata` work on the graph
(`static_lists` and `static_sizes` are parts of `exact_passes`); `postconditions` checks it. `graph_pass` names a pass
that fails. Operators that torch translates to something else are in `rnnserve.export.operators`.

`roll` makes scans of the loops in the user's own code, where these fix the number of steps: it compares traces at a
few sizes, and `value_trials` compares values of the exported model with the module's.
`scan` is a loop over steps of any kind: `scan_markers` are in the captured program where a step begins and ends, and
`scan_translation` makes ONNX's Scan of them; `scan_loop`, `scan_writes` and `operation_recorder` are for its refusals.
`projections` is LSTM with `proj_size`, as a scan; `loop_advice` is what the refusal of a Python loop shows.

The package imports torch, onnx and onnxscript, and of rnnserve only the errors, `source_lines`, `surroundings` and
`rnnserve.export.operators`.

Door: `__all__`, `graph_pass`, `graph_values`, `interception`, `lenient_packing`, `longest_rows`,
`refusals`, `scan`, `size_expressions`, `size_probing`.
"""

from rnnserve.export.recurrence.export import export_onnx
from rnnserve.export.recurrence.scan import scan

__all__ = ["export_onnx", "scan"]
