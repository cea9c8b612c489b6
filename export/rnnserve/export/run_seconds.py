"""How long onnxruntime may take for a file of others, which may run for ever; without torch, for help texts."""

__all__ = ["RUN_SECONDS"]

RUN_SECONDS = 60.0
"""Seconds to load a file, and for each run of it."""
