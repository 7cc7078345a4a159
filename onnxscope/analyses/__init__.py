"""Questions about one image's linear map, one file each: arrays in, arrays out."""
