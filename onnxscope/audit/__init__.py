"""Audits: policies over models and pictures, their outcomes, and the evidence of them."""
