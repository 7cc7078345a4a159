"""The papers' figures and tables with our own small networks: what each shows, and how that compares with what the paper says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from photographs import as_images, photographs
from recipes import decibels, halved, signed
from scenes import NAMES, Scene, held_out

import onnxscope
from onnxscope.analyses.filters import Sampled, along_a_line, energies, projective, receptive, sampled
from onnxscope.analyses.ledger import Ledger, ledgers
from onnxscope.analyses.upscalers import bicubic_svd
from onnxscope.interpreter import LinearInterpreter, OpenModel
from onnxscope.report.pictures import Picture, magnitude, png, sheet
from onnxscope.report.plots import ABOVE, BELOW, LINES, drawn, map_of

MODELS = Path(__file__).parents[1] / "models"
PAIRS = "ab"
CLASSIFIERS = {  # of each the tensors that every path passes, in their order
    "scenes_vgg": [f"conv{k}{s}.relu" for k in range(5) for s in "ab"] + ["dense.relu"],
    "scenes_vgg_bn": [f"conv{k}{s}.norm.relu" for k in range(5) for s in "ab"] + ["dense.relu"],
    "scenes_resnet": ["stem.norm.relu", *(f"block{k}.relu" for k in range(4))],
}
TABLE_3 = {"AlexNet": 0.785, "VGG-19": 0.855, "ResNet-152": 0.811, "SqueezeNet 1.1": 0.843, "DenseNet-161": 0.95, "Inception v3": 0.916}
EYE = np.s_[60:188, 110:238]  # of chelsea, a photograph that no network learned from
