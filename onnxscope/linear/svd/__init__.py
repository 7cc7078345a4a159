"""The singular value decomposition of F by its passes."""
