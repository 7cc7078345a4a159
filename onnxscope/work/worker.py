"""The one worker class of all engines: it opens a job once, and then maps arrays to arrays.

A batch has an array `number` with the numbers of its items. What comes back has the same numbers, and an
array `error` whose texts are empty for the items that were done, and `walls` tells what limited the worker.
"""

from __future__ import annotations

import json

import numpy as np

from onnxscope.errors import Crashed, ScopeError
from onnxscope.work.isolated import Isolated, Isolation, error_of
from onnxscope.work.jobs import Batch, Job, Work

ATTEMPTS = 2  # at an item whose process ended: it may have been killed for no fault of the item


class Worker:
    """A job that answers for every item of a batch, also where its process crashes.

    With an isolation the job runs in a process of its own, else in this one. What is not a crash and not an
    error of one item, such as a model that cannot be opened, is told for all items.
    """

    def __init__(self, work: Work, isolation: Isolation | None = None) -> None:
        self._work, self._isolation = work, isolation
        self._job: Job | None = None
        self._refused: ScopeError | None = None
        for left in reversed(range(ATTEMPTS)):
            try:
                self._job, self._refused = self._opened(), None
                return
            except Crashed as error:
                self._refused = error
                if not left:
                    return
            except ScopeError as error:
                self._refused = error
                return

    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        count = len(batch["number"])
        if self._job is None and self._refused is not None:
            return failed(batch, self._refused)
        try:
            found = done(batch, self._answered(batch))
            return {**found, "walls": np.full(count, json.dumps(self.walls))}
        except Crashed as error:
            if count == 1:
                return self._once_more(batch, error)
            return joined([self({k: v[i : i + 1] for k, v in batch.items()}) for i in range(count)])
        except ScopeError as error:
            return failed(batch, error)

    def __reduce__(self) -> tuple[type[Worker], tuple[Work, Isolation | None]]:
        return Worker, (self._work, self._isolation)

    def close(self) -> None:
        """End the process of the job, if it has one."""
        if isinstance(self._job, Isolated):
            self._job.close()
        self._job = None

    @property
    def walls(self) -> dict[str, str]:
        """What limits the process of the job."""
        return self._job.walls if isinstance(self._job, Isolated) else {}

    def _opened(self) -> Job:
        return Isolated(self._work, self._isolation) if self._isolation else self._work.opened()

    def _answered(self, batch: Batch) -> dict[str, np.ndarray]:
        if self._job is None:
            self._job = self._opened()
        try:
            return self._job(batch)
        except Crashed:
            self._job = None
            raise

    def _once_more(self, item: Batch, error: Crashed) -> dict[str, np.ndarray]:
        for _ in range(ATTEMPTS - 1):
            try:
                return done(item, self._answered(item))
            except Crashed as again:
                error = again
        return failed(item, error)


def done(batch: Batch, found: Batch) -> dict[str, np.ndarray]:
    return {"number": batch["number"], "error": np.full(len(batch["number"]), ""), **found}


def raised(batch: Batch) -> None:
    """Raise the first error of a batch, for work of which no item may be left out."""
    for text in filter(None, batch["error"].tolist()):
        raise error_of(json.loads(text))


def failed(batch: Batch, error: ScopeError) -> dict[str, np.ndarray]:
    """A batch of which nothing was done."""
    told = {"kind": type(error).__name__, "where": error.where, "cause": error.cause, "remedy": error.remedy}
    return {"number": batch["number"], "error": np.full(len(batch["number"]), json.dumps(told))}


def joined(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Answers for single items as the answer for all of them; what one lacks is empty."""
    names = list(dict.fromkeys(name for b in batches for name in b))
    whole = {}
    for name in names:
        like = next(b[name] for b in batches if name in b)
        whole[name] = np.concatenate([b.get(name, np.zeros_like(like)) for b in batches])
    return whole
