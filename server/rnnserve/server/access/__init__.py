"""Access: whose calls are answered, by tokens (--tokens) or client certificates (--client-roles).

In: what a call says of itself, its metadata, the certificate that its client has shown, and the method that it has
matched. `gate` looks up the one or the other (`credentials`, `client_certificates`) among the rows of the file
(`access_file`), and the need of the method in the one table, of the contracts. Out: a `Grant`, which what is done for
the call asks again, for a model's name or after the file has changed; or one of `refusals`. `usage` bounds what the
calls of one token may take, by numbers that workers share (`shared_usage`); `failures` what wrong ones cost.
`token_writing` writes the file, for `rnnserve token`.

Imports `settings`, `errors`, `clock`, `rnnserve.common`, and `rnnserve.protos`; no gRPC: the transports ask it,
and so does what answers scrapes.

Door: `access_file`, `credentials`, `gate`, `grant`, `refusals`, `shared_usage`, `token_writing`, `usage`.
"""
