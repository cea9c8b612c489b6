"""The servers for comparison with this server: `plain` and `constant` are programs, `triton` prepares Triton's server.

`model_loop` is a program as well: it runs the batches in a bare loop without a server.
"""
