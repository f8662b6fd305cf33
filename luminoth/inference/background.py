"""Work that goes on in a thread of its own while the network runs, with a bound on what may pile up.

Decoding and encoding of pictures and videos release Python's interpreter lock, as the network does, so that a
thread is enough to overlap them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

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


class InBackground:
    """Calls functions one after another in another thread: `with InBackground(4) as writer: writer(save, picture)`.

    At most `depth` calls wait; the next one is held up until there is room. What a call raises comes out at a
    later call or at the end of the block. All calls are finished when the block ends.
    """

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="in-background")
        self._pending: deque[Future] = deque()

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> None:
        while len(self._pending) >= self._depth:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(function, *arguments))

    def __enter__(self) -> InBackground:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._thread.shutdown(wait=True)
        if kind is None:  # an error of the block itself is the one to tell
            for call in self._pending:
                call.result()
