"""A model becomes a scope: freeze it walking forward, transpose it walking backward."""
