"""Two exports of one network: which layers belong together, and what each adds to a difference."""
