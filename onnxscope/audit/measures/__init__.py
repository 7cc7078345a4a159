"""What audits measure: a table of measures, each a few lines around what the other wings compute."""
