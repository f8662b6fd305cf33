"""Work that goes on in threads of its own while the network runs, with a bound on what may pile up.

Decoding and encoding of pictures and videos release Python's interpreter lock, as the network does, so that
threads are enough to overlap them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

S = TypeVar("S")
T = TypeVar("T")

_END = object()


def read_ahead(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """Yields what `items` yields; up to `depth` of them are made ahead, in another thread.

    An error that `items` raises comes out here, after everything it yielded before. Once this generator has
    ended or is closed, nothing is taken from `items` any more.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as thread:
        coming = deque(thread.submit(next, iterator, _END) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            thread.shutdown(wait=True, cancel_futures=True)


def map_ahead(
    function: Callable[[S], T],
    items: Iterable[S],
    *,
    threads: int,
    depth: int,
    weigh: Callable[[S], float] = lambda item: 0,
    most_weight: float = 0,
) -> Generator[T, None, None]:
    """Yields `function(item)` of each item in their order; called in several threads, ahead of what is asked for.

    Args:
        function: an error that it raises comes out in the item's place.
        items: is iterated over in the caller's thread, no further than needed.
        threads: how many calls run at once.
        depth: most items that have begun and have not been yielded.
        weigh: of an item, cheap; asked for in the caller's thread.
        most_weight: most weight of such items together. One that is heavier by itself is done alone.
    """
    iterator = iter(items)
    coming: deque[tuple[Future, float]] = deque()
    weight = 0.0
    next_item = next(iterator, _END)
    with ThreadPoolExecutor(threads, thread_name_prefix="map-ahead") as pool:
        try:
            while coming or next_item is not _END:
                while next_item is not _END and len(coming) < depth:
                    own = weigh(next_item)
                    if coming and weight + own > most_weight:
                        break
                    coming.append((pool.submit(function, next_item), own))
                    weight += own
                    next_item = next(iterator, _END)
                call, own = coming.popleft()
                result = call.result()
                weight -= own
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def newest(items: Iterable[T], stop: Callable[[], Any] = lambda: None) -> Generator[T, None, None]:
    """Yields of `items` the latest one each time it is asked; those that came in the meantime are dropped.

    For sources that do not wait, such as cameras. An error that `items` raises comes out here.

    Args:
        items: is iterated over in another thread.
        stop: makes `items` end soon; called when this generator is closed.
    """
    there = threading.Condition()
    latest: list[Any] = []  # at most one
    ended: list[BaseException | None] = []
    stopped = threading.Event()

    def take() -> None:
        failure = None
        try:
            for item in items:
                with there:
                    latest[:] = [item]
                    there.notify()
                if stopped.is_set():
                    break
        except BaseException as error:
            failure = error
        with there:
            ended.append(failure)
            there.notify()

    thread = threading.Thread(target=take, name="newest", daemon=True)
    thread.start()
    try:
        while True:
            with there:
                there.wait_for(lambda: latest or ended)
                if not latest:
                    break
                item = latest.pop()
            yield item
    finally:
        stopped.set()
        stop()
        thread.join()
    if ended[0] is not None:
        raise ended[0]


class InBackground:
    """Calls functions one after another in another thread: `with InBackground(4) as writer: writer(save, picture)`.

    At most `depth` calls wait; the next one is held up until there is room. What a call raises comes out at a
    later call or at the end of the block. All calls are finished when the block ends.

    Args:
        depth: most calls that wait.
        threads: how many run at once; with more than one, they end in any order.
        most_weight: most weight of waiting calls together. One that is heavier by itself waits alone.
    """

    def __init__(self, depth: int, threads: int = 1, most_weight: float = float("inf")) -> None:
        self._depth, self._most_weight = depth, most_weight
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="in-background")
        self._pending: deque[tuple[Future, float]] = deque()

    def __call__(self, function: Callable[..., Any], *arguments: Any, weight: float = 0) -> None:
        while self._pending and (len(self._pending) >= self._depth or self._weight() + weight > self._most_weight):
            self._pending.popleft()[0].result()
        self._pending.append((self._threads.submit(function, *arguments), weight))

    def _weight(self) -> float:
        return sum(weight for _, weight in self._pending)

    def __enter__(self) -> InBackground:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._threads.shutdown(wait=True)
        if kind is None:  # an error of the block itself is the one to tell
            for call, _ in self._pending:
                call.result()
