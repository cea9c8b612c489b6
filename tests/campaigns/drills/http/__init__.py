"""Attacks over HTTP: what clients do that want the front's memory, its time, or its connections.

`attacks` has them, each a function of the front's port; `crowd` the connections that they are made of; `bystander` is
the small client that asks on, in a process of its own.
"""
