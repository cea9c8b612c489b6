"""Shows a repository's versions from their manifests: as text, as JSON, and as a sample client program.

`version_record` reads a version, `signature_record` its signature; `text_report`, `json_report`, `client_snippet` and
`sbom` show it. The package imports only protos, so it works without torch, onnx and onnxruntime. Only `sbom` imports
cyclonedx, when it is called.

Public: `json_report`, `sbom`, `text_report`, `version_record`.
"""
