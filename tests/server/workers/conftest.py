"""Makes supervisors and generations."""

from kit.supervised import generation, running

__all__ = ["generation", "running"]
