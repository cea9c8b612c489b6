"""The servers that this one is compared with: `plain` and `constant` are programs, `triton` prepares Triton's.

`model_loop` is a program, too: the batches in a bare loop, without a server.
"""
