"""Programs as sessions on a device: states, passes and proofs."""
