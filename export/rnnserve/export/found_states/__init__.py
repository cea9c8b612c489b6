"""Inferred states: what a model carries from step to step though it doesn't declare it, found in its graph and tried.

Goes in: an ONNX graph, with the description of its inputs and outputs. Comes out: the same graph with the states of its
recurrent operators and scans, and the last inputs of causal convolutions, as inputs and outputs; or the operator by
which a sequence can't be cut into parts. `parts_file` has the order of the steps. A kind of place is a function in
`_FINDERS` of `parts_file`: it gives the nodes that replace its node, and the states that these read and give.

Door: `parts_file`.
"""
