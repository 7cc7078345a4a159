"""The questions that can be asked of one frozen image, one file each: arrays in, arrays or results out."""
