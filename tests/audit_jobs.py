"""The job of an audit whose process comes to a bad end, as the name of the model's file says."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from onnxscope.audit.job import Auditing


class Ending(Auditing):
    """`crash.onnx` ends its process when it is opened, and `late.onnx` at its first picture."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.name = Path(settings["model"]["file"]).name
        if self.name == "crash.onnx":
            os.kill(os.getpid(), signal.SIGSEGV)

    def answered(self, picture: str, beside: str, label: str, checks: str) -> dict[str, Any]:
        if self.name == "late.onnx" and Path(picture).name == "cat_0.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answered(picture, beside, label, checks)
