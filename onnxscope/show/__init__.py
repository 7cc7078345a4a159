"""Arrays in, pictures and pages out."""
