"""Connections: what both transports do with the connections of clients, so that no one of them takes from the others.

`connection_turns` and `connection_counts`: whose turn it is, and what each has; `receive_window`: how many messages
are received at once, and whose is next; `pooled_call` and `call_queue`: a call of the public transport, and which has a
thread next; `byte_budget`: bytes in hand; `slow_senders`: which call gives way where memory is short; `header_limit`,
`flood_guard`, `memory_guard`: ends of connections and calls that cost more than they may; `guard_thread`: the thread on
which the last two look; `idle_connections`: which connections lie idle, and are ended where memory is short;
`open_connections`: which of the connections that own sequences are open; `held_answers`: answers that wait while a
server goes; `private_socket`: whose the calls of the HTTP front are.

Imports `sockets`, `clock`, `errors`, `rnnserve.common` and `rnnserve.protos`; no gRPC but in `header_limit`.

Threads: `guard_thread`, `header_limit`.

Door: `byte_budget`, `call_queue`, `connection_counts`, `connection_turns`, `flood_guard`, `guard_thread`,
`header_limit`, `held_answers`, `idle_connections`, `memory_guard`, `open_connections`, `pooled_call`, `private_socket`,
`receive_window`, `slow_senders`.
"""
