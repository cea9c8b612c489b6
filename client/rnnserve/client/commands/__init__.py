"""The commands `rnnserve infer` and `rnnserve health`, and the options of every command that connects to a server.

Public: `argument_types`, `connection_options`.
"""
