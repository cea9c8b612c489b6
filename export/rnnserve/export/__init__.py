"""From a module to a proven artifact: TorchScript, ONNX, parity, and publishing."""
