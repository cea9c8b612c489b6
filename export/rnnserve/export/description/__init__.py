"""Read the spec of a module, and check it against the module's behavior in a few runs.

The input is a `publication`: a module with descriptions of its inputs. Commands find it by name (`targets`). The result
is a `described_model`, whose tensors have the form of the manifest. `call_reading` finds out how forward takes its
arguments, and `nested_states` finds the tensors of states in trees and attributes. Together they turn the user's module
into a module with flat tensors. `described_tensors` checks tensors of modules and files alike. `described_outputs`
finds the axes of outputs. `forward_trials` runs the module at the limits of its sizes and on unsorted rows, and
`omitted_inputs` runs it without its optional arguments. This package doesn't export, compare or write anything.

The package's `__init__` imports nothing, so commands can report a mistake in a name (`targets`) before they import
torch.

Public: `described_model`, `described_outputs`, `described_tensors`, `forward_trials`, `publication`,
`targets`.
"""
