"""Work on many pictures in processes side by side: results in order, memory bounded, Ctrl-C ends it cleanly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import TypeVar

from luminoth.errors import WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 16  # pictures sent to a process at once; a hundred kilobytes come back for each
_CHUNKS_AHEAD = 3  # for each process: one that is worked on, and enough that none waits


def default_workers() -> int:
    """As many processes as there are cores that this one may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def map_chunks(
    function: Callable[[list[Item]], list[Result]], items: Iterable[Item], *, workers: int, chunk: int = CHUNK
) -> Iterator[Result]:
    """`function` of all items, in their order, in `workers` processes.

    Args:
        function: takes a list of items and gives the list of their results. It is sent to the processes, so it must
            be a function of a module (or `functools.partial` of one).
        items: drawn from as results are asked for, at most `3 * workers` chunks ahead.
        workers: how many processes. With 1, or when there is but one chunk, everything happens in this process.
        chunk: items in a list.

    Raises:
        WorkerError: a process ended by itself, most likely for want of memory.
    """
    chunks = _in_chunks(iter(items), chunk)
    first = list(islice(chunks, 2)) if workers > 1 else []
    if len(first) < 2:
        for each in chain(first, chunks):
            yield from function(each)
        return
    yield from _map_in_pool(function, chain(first, chunks), workers)


def _map_in_pool(function, chunks: Iterator[list], workers: int) -> Iterator:
    pool = ProcessPoolExecutor(workers, mp_context=_context(function), initializer=_prepare_worker)
    waiting: deque[Future] = deque()
    try:
        for each in chunks:
            waiting.append(pool.submit(function, each))
            if len(waiting) >= _CHUNKS_AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process ended by itself, most likely because memory ran out; try again with fewer: "
            f"--workers {max(1, workers // 2)}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _context(function: Callable) -> multiprocessing.context.BaseContext:
    """How processes are started: never by forking this one, which may have TensorFlow's threads running.

    Where the system can, a fresh process imports what `function` needs, once, and is forked for each worker.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([getattr(function, "func", function).__module__])
    return context


def _in_chunks(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while chunk := list(islice(items, size)):
        yield chunk


def _prepare_worker() -> None:
    """Leaves Ctrl-C to the parent, and ends with it, also when it is killed: nobody would call this process again."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
