"""States that a model carries from step to step though it does not declare them: found in its graph, exposed, tried.

Goes in: an ONNX graph, with the description of its inputs and outputs. Comes out: the same graph with the states of its
recurrent operators and scans, and the last inputs of causal convolutions, as inputs and outputs; or the
operator by which a sequence may not be cut into parts.

`finding` walks the graph (`rnnserve.export.analysis`) and puts `recurrences` and `windows` in;
`cut_trial` runs sequences whole and in parts, and compares their bits. A kind of place is a function in `_FINDERS` of
`finding`: it gives the nodes that take its node's place, and the states that these read and give.

Door: `parts_file`, `parts_record`.
"""
