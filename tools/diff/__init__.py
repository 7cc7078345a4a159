"""Tools about `onnxscope diff`: pairs of exports with their truth, seeded faults, and what is measured on pairs."""
