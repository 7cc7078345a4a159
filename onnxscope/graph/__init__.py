"""The graph in memory, and what can be read off it: the boundary to onnx and onnx-graphsurgeon."""
