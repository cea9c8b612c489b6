"""Servers on the machines of a cluster that others run: Ray places whole servers, and replaces lost ones.

A server here is the ordinary `rnnserve serve`, one a node; requests go from clients to it, and not through Ray.

    servers         what is placed, what is known of it, and the error
    kept_server     a server that is started again when it ends
    fleet           all servers of one name, and their rolling update
    on_ray/         the same as actors of Ray, and the way to them; nothing else imports ray
    commands/       `rnnserve ray`

May import `client` and `common`; `rnnserve serve` is a command that it starts.

Door: nothing.

Threads: `kept_server`.
"""

__all__: list[str] = []
