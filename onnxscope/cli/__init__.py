"""The command line: one verb per question, a thin layer on the Python API."""
