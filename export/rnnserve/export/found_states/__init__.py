"""Inferred states: find the undeclared states that a model carries from step to step, and test cuts with them.

The input is an ONNX graph with the specs of its inputs and outputs. The result is the same graph with more inputs and
outputs: the states of its recurrent operators and scans, and the last input steps of causal convolutions. If a sequence
can't be cut into parts, the result is the operator that prevents it. `parts_file` runs the steps of this search. Each
kind of carrying node (`Place`) has a function in `_FINDERS` of `parts_file`, which returns the nodes that replace it
and the states that these nodes read and write.

Public: `parts_file`.
"""
