"""Work on one item after the other, while the next is read and the last is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
Written = TypeVar("Written")
In = TypeVar("In")
Out = TypeVar("Out")

Seconds = dict[str, float]
"""How long each stage took in all; reading and writing mostly while something else was worked on."""


def overlapping(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    work: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], Written],
    seconds: Seconds | None = None,
) -> Generator[tuple[Item, Written | Exception], None, None]:
    """What becomes of every item, in their order, or the exception that one of its stages raised.

    `work` is called in this thread, the two others in one thread each, for one item at a time. At most three items
    are held. If `work` is interrupted, what became of the item before is told first, then the interruption is raised.
    Close it when you stop before its end: until then its threads stay.

    Args:
        items: what to work on.
        read, work, write: the stages; the second and third are given the item and what the stage before returned.
        seconds: to which the time of each stage is added, by "read", "work" and "write".
    """

    def timed(name: str, stage: Callable[..., Out], *arguments: object) -> Out:
        begin = time.perf_counter()
        try:
            return stage(*arguments)
        finally:
            if seconds is not None:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - begin

    def outcome(future: Future[Written]) -> Written | Exception:
        error = future.exception()
        return error if isinstance(error, Exception) else future.result()

    last: tuple[Item, Future[Written]] | None = None
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        try:
            reading = [reader.submit(timed, "read", read, item) for item in items[:1]]
            for index, item in enumerate(items):
                ready = reading.pop()
                reading = [reader.submit(timed, "read", read, following) for following in items[index + 1 : index + 2]]
                try:
                    made = timed("work", work, item, ready.result())
                except Exception as error:
                    writing: Future[Written] = Future()
                    writing.set_exception(error)
                else:
                    writing = writer.submit(timed, "write", write, item, made)
                if last is not None:
                    yield last[0], outcome(last[1])
                last = item, writing
        except GeneratorExit:
            raise
        except BaseException:
            if last is not None:
                yield last[0], outcome(last[1])
            raise
        if last is not None:
            yield last[0], outcome(last[1])
