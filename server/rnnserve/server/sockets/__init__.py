"""Sockets: which ports are free, and how workers share one.

Imports `errors`; no gRPC.

Door: `ports`.
"""
