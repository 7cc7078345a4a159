"""Engines: where workers run. Each is a few lines around the one worker class."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from onnxscope.errors import BadOption
from onnxscope.work.isolated import Isolation
from onnxscope.work.jobs import Batch, Work
from onnxscope.work.worker import Worker

Items = Sequence[Mapping[str, Any]]  # all with the same keys, one of them `number`
LOCAL, RAY, DASK = "local", "ray", "dask"


@dataclass(frozen=True)
class Engine:
    """Where work is done: the engine, the number of its workers, and the items that each takes at a time."""

    on: str = LOCAL  # or ray, dask, or one of them with an address as in dask:tcp://host:8786
    workers: int = 0  # 0: as many as the machine has cores
    at_a_time: int = 1
    isolation: Isolation = field(default_factory=lambda: Isolation(None))

    def __post_init__(self) -> None:
        name = self.on.partition(":")[0]
        if name not in ENGINES:
            raise BadOption(
                f"there is no engine '{name}'", where="--on", remedy=f"choose {', '.join(ENGINES)}"
            )
        if not hasattr(os, "fork"):
            cause = "workers need a system that can fork processes, such as Linux or macOS"
            raise BadOption(cause, where=f"--on {name}", remedy="use such a system, or a container")
        package = {RAY: "ray", DASK: "distributed"}.get(name)
        if package and importlib.util.find_spec(package) is None:
            raise BadOption(
                f"needs the package {package}",
                where=f"--on {name}",
                remedy=f"pip install 'onnxscope[{name}]'",
            )

    @property
    def count(self) -> int:
        return self.workers or os.cpu_count() or 1

    @property
    def address(self) -> str | None:
        return self.on.partition(":")[2] or None


def spread(work: Work, items: Items, engine: Engine) -> Iterator[dict[str, np.ndarray]]:
    """What the work makes of the items, batch by batch, in the order in which they are done."""
    yield from ENGINES[engine.on.partition(":")[0]](work, items, engine)


def batches(items: Items, size: int) -> Iterator[Batch]:
    """The items as arrays by their keys."""
    for first in range(0, len(items), size):
        part = items[first : first + size]
        yield {key: np.array([item[key] for item in part]) for key in part[0]}


def local(work: Work, items: Items, engine: Engine) -> Iterator[dict[str, np.ndarray]]:
    """In processes of this machine. No more batches are in memory than twice the workers."""
    todo = batches(items, engine.at_a_time)
    count = min(engine.count, -(-len(items) // engine.at_a_time))
    drawing, answers = threading.Lock(), queue.Queue[Any](2 * count)
    stopped = threading.Event()

    def put(answer: Any) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                answers.put(answer, timeout=0.1)
                return

    def run() -> None:
        try:
            worker = Worker(work, engine.isolation)
            while not stopped.is_set():
                with drawing:
                    batch = next(todo, None)
                if batch is None:
                    break
                put(worker(batch))
            worker.close()
            put(None)
        except BaseException as error:  # a fault of ours, which the reader shall see
            put(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        running = count
        while running:
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                running -= 1
            else:
                yield answer
    finally:
        stopped.set()


def on_ray(work: Work, items: Items, engine: Engine) -> Iterator[dict[str, np.ndarray]]:
    """In actors of Ray Data."""
    ray: Any = importlib.import_module("ray")
    importlib.import_module("ray.data")
    if not ray.is_initialized():
        cores = None if engine.address else engine.count
        ray.init(engine.address, num_cpus=cores, log_to_driver=False, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    found = ray.data.from_items([dict(item) for item in items]).map_batches(
        Worker,
        fn_constructor_args=(work, engine.isolation),
        batch_size=engine.at_a_time,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=min(engine.count, -(-len(items) // engine.at_a_time))),
    )
    yield from found.iter_batches(batch_size=None, batch_format="numpy")


def on_dask(work: Work, items: Items, engine: Engine) -> Iterator[dict[str, np.ndarray]]:
    """In the workers of Dask's distributed scheduler, two batches waiting for each."""
    dask: Any = importlib.import_module("distributed")
    with contextlib.ExitStack() as stack:
        cluster = engine.address or stack.enter_context(
            dask.LocalCluster(n_workers=engine.count, threads_per_worker=1, dashboard_address=None)
        )
        client = stack.enter_context(dask.Client(cluster))
        todo = batches(items, engine.at_a_time)

        def submit(batch: Batch) -> Any:
            return client.submit(kept_open, work, engine.isolation, dict(batch), pure=False)

        waiting = dask.as_completed([submit(b) for b in islice(todo, 2 * engine.count)])
        for future in waiting:
            yield future.result()
            future.release()
            if (batch := next(todo, None)) is not None:
                waiting.add(submit(batch))


def kept_open(work: Work, isolation: Isolation, batch: Batch) -> dict[str, np.ndarray]:
    """The answer of this process's worker for the work, which stays open until other work comes."""
    key = repr((work, isolation))
    if key not in KEPT:
        for old in KEPT.values():
            old.close()
        KEPT.clear()
        KEPT[key] = Worker(work, isolation)
    return KEPT[key](batch)


KEPT: dict[str, Worker] = {}
ENGINES: dict[str, Callable[[Work, Items, Engine], Iterator[dict[str, np.ndarray]]]] = {
    LOCAL: local,
    RAY: on_ray,
    DASK: on_dask,
}
