"""The documentation as Markdown pages with their pictures, readable without a network: `onnxscope guide`."""
