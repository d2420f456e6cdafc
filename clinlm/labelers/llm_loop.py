"""An asynchronous iterator, read by code that is not asynchronous."""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def drained(items: AsyncGenerator[T, None]) -> Iterator[T]:
    """Yield what an asynchronous generator yields, and raise what it raises.

    Its loop runs in a thread of its own, also while the reader is busy with an item, and inside a notebook, whose own
    loop is running. When the reader ends early everything under way is cancelled.
    """
    end = object()

    async def following() -> T | object:
        return await anext(items, end)

    async def stop() -> None:
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await items.aclose()

    with _loop() as loop:
        try:
            while (item := asyncio.run_coroutine_threadsafe(following(), loop).result()) is not end:
                yield item  # type: ignore[misc]
        finally:
            asyncio.run_coroutine_threadsafe(stop(), loop).result()


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loops: queue.SimpleQueue[asyncio.AbstractEventLoop] = queue.SimpleQueue()

    def work() -> None:
        with asyncio.Runner() as runner:
            loops.put(runner.get_loop())
            runner.get_loop().run_forever()

    thread = threading.Thread(target=work, name="clinlm-chat", daemon=True)
    thread.start()
    loop = loops.get()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
