"""Access: whose calls are answered, where a server asks for tokens (--tokens).

In: what a call says of itself, its metadata, and the method that it has matched. `gate` looks up its token among those
of the file (`tokens_file`), and the need of the method in the one table, of the contracts. Out: a `Grant`, which
what is done for the call asks again, for a model's name or after the file has changed; or one of `refusals`. `usage`
bounds what the calls of one token may take. `token_writing` writes the file, for `rnnserve token`.

Imports `errors`, `clock`, `rnnserve.common`, and `rnnserve.protos`; no gRPC: the transports ask it, and so does what
answers scrapes.

Door: `gate`, `refusals`, `token_writing`, `tokens_file`, `usage`.
"""
