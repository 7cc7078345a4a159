"""Arrays and results in, pictures and pages out."""
