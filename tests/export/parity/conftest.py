"""Fixtures of parity, shared with the full suite."""

from kit.classifier_subjects import chaotic, proven, subject

__all__ = ["chaotic", "proven", "subject"]
