"""The tour: everything worth seeing of one network and one image, on one page."""

from onnxscope.tour.visit import Visit, checked_folder, visit

__all__ = ["Visit", "checked_folder", "visit"]
