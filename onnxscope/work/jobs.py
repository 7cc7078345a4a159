"""Jobs by name: what a process opens and calls, as data that can be sent to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

Batch = Mapping[str, np.ndarray]
Job = Callable[[Batch], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Work:
    """A job by the name of its class, `package.module:Class`, and what the class is called with."""

    job: str
    settings: Mapping[str, Any]  # as JSON has them

    def opened(self) -> Job:
        """The job, opened in this process."""
        module, _, name = self.job.partition(":")
        return cast(Job, getattr(importlib.import_module(module), name)(**self.settings))
