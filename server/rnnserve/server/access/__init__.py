"""Access: which calls the server accepts, by tokens (--tokens) or client certificates (--client-roles).

`gate` looks up a call's token or certificate among the rows of the access file (`access_file`), and looks up the roles
that the called method requires in `rnnserve.protos.access_table`. `rnnserve token` edits the token file
(`access_file`).

Imports `settings`, `errors`, `rnnserve.common`, and `rnnserve.protos`, but not gRPC, because both the transports and
the metrics endpoint call it.

Public: `access_file`, `gate`.
"""
