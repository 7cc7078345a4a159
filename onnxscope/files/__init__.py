"""Models, weights, pictures and arrays: in from disk and out to disk."""
