"""Servers on the machines of a cluster that others run: Ray places whole servers, and replaces what is lost.

A server here is the ordinary `rnnserve serve`, one a node; requests go from clients to it, and Ray is not on their way.

    servers         what is placed, and what is told of it
    server_process  one run of `rnnserve serve`, which ends with the process that started it
    kept_server     a server that is started again when it ends; all that happens on its node
    supervision     which servers there are to be: what is lost is replaced, versions are rolled, endpoints published
    endpoint_file   the file that clients follow
    on_ray/         the same as actors of Ray, and the way to them; nothing else imports ray
    commands/       `rnnserve ray`

May import `client` and `common`; `rnnserve serve` is a command that it starts.

Door: nothing.

Threads: `kept_server`, `server_process`, `supervision`.
"""

__all__: list[str] = []
