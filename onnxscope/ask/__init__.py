"""The questions to one frozen image: arrays in, arrays out, one file for each question."""
