"""Servers as Ray actors. This is the only folder that imports ray.

A placement group has one bundle per server, each on a different node. In each bundle, an actor keeps a server running.
Group and actors are detached: they stay when the command that created them ends (`ray_fleet`). If an actor's process or
node is lost, Ray restarts the actor and moves its bundle to another node.

Public: `ray_fleet`.
"""

__all__: list[str] = []
