"""Servers as actors of Ray: the only folder that imports ray.

A placement group has a bundle a server, each on a node of its own. In each bundle an actor keeps a server
(`server_actor`); one more actor looks after all of them (`supervisor_actor`, `ray_nodes`). All are detached: they stay
when the command that has made them ends (`fleet`). Ray starts an actor again whose process or node is lost, and moves
its bundle to another node.

Door: `fleet`.

Threads: `supervisor_actor`.
"""

__all__: list[str] = []
