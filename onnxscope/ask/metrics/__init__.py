"""Metrics of explanations, one file for each category, with the definitions that Quantus uses."""
