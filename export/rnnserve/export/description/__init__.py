"""Describing a module: what a user says of it, checked against what it does when it is run.

In: a module with the descriptions of its inputs, a `publication`; a command finds it by its name (`targets`). Out: a
`described_model`, whose tensors have the form that a manifest gives them. `call_reading` reads how forward takes its
arguments, and `nested_states` what states in trees and attributes are made of: together they make one module of flat
tensors. `described_tensors` has the checks of tensors whatever computes them, `described_outputs` finds the axes of
outputs, `forward_trials` runs the module at the limits of its sizes and on unsorted rows, and `omitted_inputs` without
the arguments that may be left out. Nothing is exported, compared or written here.

The door imports nothing: commands report a mistake in a name (`targets`) before torch is imported.

Door: `described_model`, `described_outputs`, `described_tensors`, `forward_trials`, `omitted_inputs`, `publication`,
`targets`.
"""
