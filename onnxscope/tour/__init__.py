"""The tour: everything worth seeing of one network and one image, on one page."""

from onnxscope.tour.visit import Visit, visit

__all__ = ["Visit", "visit"]
