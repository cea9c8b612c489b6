"""Describing a module: what a user says of it, checked against what it does when it is run.

In: a module with the descriptions of its inputs (`input_descriptions`), which together are a `publication`; a command
finds it by its name (`target_names`, `publication_targets`). Out: a `described_model`, whose tensors have the form that
a manifest gives them. `forward_parameters` and `grouped_tensors` read how forward takes its arguments, `made_inputs`
and `made_arguments` make them where they are not the model's inputs, `padding_ids` bounds ids, `lenient_module` packs
rows in any order, `described_tensors` holds what is checked of tensors whatever computes them, `described_outputs` and
`derived_axes` find the axes of outputs, `forward_trials` runs the module at the limits of its sizes, and
`omitted_inputs` without the arguments that may be left out; `required_attributes` warns of those that no client has,
and `related_axes` says which sizes go together. `initial_values` has what states begin with, `nested_states` makes
inputs and outputs of those in trees and attributes. Nothing is exported, compared or written here.

The door imports nothing: commands tell a mistake in a name (`target_names`, `model_names`) before torch is imported.

Door: `derived_axes`, `described_model`, `described_outputs`, `described_tensors`, `forward_trials`,
`input_descriptions`, `lenient_module`, `made_arguments`, `model_names`, `omitted_inputs`, `publication`,
`publication_targets`, `required_attributes`, `state_trees`, `target_names`.
"""
