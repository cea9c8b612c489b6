"""Import ONNX files from other exporters: roles and axes, batching safety, golden results, and publishing.

Such a file has no module to compare its results with, so the results aren't verified, and the manifest records
"adopted". Running the file still shows the axes of its outputs and which requests may share an inference call. If the
user passes samples with expected outputs, the import also checks that the file computes these outputs.

Public: `__all__`, `samples`.
"""

from rnnserve.export.onnx_import.file_inputs import Roles
from rnnserve.export.onnx_import.importing import import_onnx

__all__ = ["Roles", "import_onnx"]
