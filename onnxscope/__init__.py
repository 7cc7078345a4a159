"""onnxscope: what an exported network does, as plain ONNX."""
