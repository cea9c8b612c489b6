"""What `publish` and `export_onnx` say of many modules, frozen as data, so that a rewrite can be compared with it."""
