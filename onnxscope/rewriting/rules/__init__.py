"""One file for each family of operators: how it is frozen, and how the linear primitives are transposed."""
