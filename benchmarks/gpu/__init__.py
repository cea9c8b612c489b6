"""CUDA, proven and measured on a machine that has it: `make gpu`, `python -m benchmarks.gpu` (docs/operate/gpu.md).

It needs no network. `__main__` reads the options, refuses in one line if something is missing, and writes the table.
`step_process` runs each step in a process of its own, since an error on CUDA ends a process or spoils all later runs in
it. The steps: `proving` publishes models on the CPU, proves them again on CUDA, replays golden results there, and lists
the nodes that fell back; `serving` serves them there; `growth` compares with the CPU over batch and hidden sizes. Each
result is a row (`rows`).

`__main__`, `rows` and `step_process` import nothing that may be missing.
"""
