"""What each operator means: freeze rules by family, and the transposes of the linear primitives."""
