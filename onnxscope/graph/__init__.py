"""The graph in memory: reading its tensors, adding nodes, and finding its image and its output."""
