"""Access: whose calls are answered, by tokens (--tokens) or client certificates (--client-roles).

`gate` looks up what a call brings (`credentials`) among the rows of the file (`access_file`), and the need of its
method in the one table, of the contracts. It returns a `Grant`, which what is done for the call asks again, for a
model's name or after the file has changed; or raises Unauthenticated or PermissionDenied. `token_writing` writes the
file, for `rnnserve token`.

Imports `settings`, `errors`, `rnnserve.common`, and `rnnserve.protos`; no gRPC: the transports call it, and so does
what answers scrapes.

Door: `access_file`, `gate`, `token_writing`.
"""
