"""Adopting ONNX files that others exported: roles and axes, batching safety, golden results, and publishing.

There is no module to compare such a file with, so nothing is proven about what it computes: a version says "adopted".
What onnxruntime itself can tell is found: the axes of outputs, which requests may share a run, and, where the user
gives samples with expected outputs, whether the file gives them.

Door: `__all__`, `samples`.
"""

from rnnserve.export.adoption.adoption import adopt
from rnnserve.export.adoption.file_inputs import Roles

__all__ = ["Roles", "adopt"]
