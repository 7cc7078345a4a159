"""F as a linear operator, in NumPy alone: blocks of vectors, extraction to disk, singular values."""
