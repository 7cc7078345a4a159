"""What Python users call: rewrite, doctor, verify and load, and the one object that every question is put to."""
