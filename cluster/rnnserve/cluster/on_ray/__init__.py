"""Servers as actors of Ray: the only folder that imports ray.

A placement group has a bundle for each server, each on a node of its own. In each bundle an actor keeps a server
(`server_actor`). All are detached: they stay when the command that has made them ends (`ray_fleet`). Ray starts an
actor again if its process or node is lost, and moves its bundle to another node.

Door: `ray_fleet`.
"""

__all__: list[str] = []
