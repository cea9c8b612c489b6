"""CUDA, verified and measured on a machine with a CUDA device: `make gpu`, `python -m benchmarks.gpu`.

docs/operate/gpu.md describes the program. It needs no network. `__main__` reads the options, refuses in one line if
something is missing, and writes the table. `step_process` runs each step in a separate process, because an error on
CUDA ends a process or spoils all later inference calls in it. The steps: `proving` publishes models on the CPU,
verifies them again on CUDA, compares with their reference outputs there, and lists the nodes that fell back to the CPU.
`serving` serves the models on CUDA. `growth` compares CUDA with the CPU over batch and hidden sizes. Each result is a
row (`rows`).

`__main__`, `rows` and `step_process` import only modules that are always installed.
"""
