"""Access: whose calls are answered, by tokens (--tokens) or client certificates (--client-roles).

`gate` looks up what a call brings among the rows of the file (`access_file`), and the roles that its
method needs in `rnnserve.protos.access_table`. `rnnserve token` changes the file of tokens (`access_file`).

Imports `settings`, `errors`, `rnnserve.common`, and `rnnserve.protos`, but not gRPC: transports and the metrics
endpoint call it.

Door: `access_file`, `gate`.
"""
