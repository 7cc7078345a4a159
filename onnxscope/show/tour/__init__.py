"""The tour: everything worth seeing of one network and one image, on one page."""
