"""Makes supervisors."""

from kit.supervised import running

__all__ = ["running"]
