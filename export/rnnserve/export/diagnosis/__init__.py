"""Comparing anyone's ONNX file with the module that it was made from, and naming what is wrong with it.

`check_file` matches the tensors of the file with those of the module, tries sizes, and leaves the verdict to the proof
that exports must pass. Where the file is wrong, its recurrent operators are compared with those of a right export of
the module, and the first node is named whose result no node of the right export gives.

`first_operator` names the first operator of a module whose result an export does not have.

Door: `__all__`, `first_operator`.
"""

from rnnserve.export.diagnosis.file_check import CheckedFile, check_file

__all__ = ["CheckedFile", "check_file"]
