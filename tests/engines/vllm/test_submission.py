"""The queue of calls, with work that ends when the test says so. No vLLM."""

from __future__ import annotations

import asyncio

import pytest

from qwen3_ascend_retrievers.engines.vllm.submission import SubmissionQueue

# A step of 160 tokens or 16 prompts: room for 64 prompts of 10 tokens, and 4 of them in a turn.
TOKENS, PROMPTS, PROMPT = 160, 16, 10


class Desk:
    """Calls that send passages and note in which order they got in."""

    def __init__(self) -> None:
        self.queue = SubmissionQueue(TOKENS, PROMPTS, None)
        self.entered: list[str] = []

    async def call(self, name: str, passages: int) -> None:
        for portion in self.queue.portions([PROMPT] * passages):
            await self.queue.acquire(PROMPT * len(portion))
            self.entered += [name] * len(portion)

    async def end(self, passages: int) -> None:
        """So many passages are scored."""
        for _ in range(passages):
            self.queue.release(PROMPT)
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_call_takes_no_more_than_the_room() -> None:
    desk = Desk()
    task = asyncio.create_task(desk.call("large", 1000))
    await settled()
    assert len(desk.entered) == 64
    while not task.done():
        before = len(desk.entered)
        await desk.end(4)
        assert len(desk.entered) == min(before + 4, 1000)
    assert desk.entered == ["large"] * 1000


async def test_a_later_call_gets_its_turn_after_one_portion() -> None:
    desk = Desk()
    large = asyncio.create_task(desk.call("large", 1000))
    await settled()
    small = asyncio.create_task(desk.call("small", 5))
    await settled()
    for _ in range(4):
        await desk.end(4)
    assert small.done()
    turns = [("large", 4), ("small", 4), ("large", 4), ("small", 1)]
    assert desk.entered[64:] == [name for name, passages in turns for _ in range(passages)]
    large.cancel()


async def test_calls_share_the_room_evenly_and_neighbours_stay_together() -> None:
    desk = Desk()
    tasks = [asyncio.create_task(desk.call(name, 400)) for name in "abcd"]
    await settled()
    for _ in range(200):
        await desk.end(4)
    shares = {name: desk.entered[64:].count(name) for name in "abcd"}
    assert max(shares.values()) - min(shares.values()) <= 8
    runs = [desk.entered[at : at + 4] for at in range(64, 864, 4)]
    assert all(len(set(run)) == 1 for run in runs)
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("admitted", [False, True])
async def test_a_cancelled_call_gives_its_place_and_its_room_back(admitted: bool) -> None:
    desk = Desk()
    await desk.call("first", 64)
    waiting = [asyncio.create_task(desk.call(name, 4)) for name in ("cancelled", "next")]
    await settled()
    if admitted:
        # Its place is granted and it is cancelled before it runs again.
        for _ in range(4):
            desk.queue.release(PROMPT)
        waiting[0].cancel()
    else:
        waiting[0].cancel()
        await desk.end(4)
    await settled()
    assert desk.entered[64:] == ["next"] * 4
    await desk.end(64)
    await asyncio.wait_for(desk.call("all", 64), 10)


async def test_what_exceeds_the_room_goes_alone() -> None:
    queue = SubmissionQueue(TOKENS, PROMPTS, None)
    await queue.acquire(10 * TOKENS)
    other = asyncio.create_task(queue.acquire(PROMPT))
    await settled()
    assert not other.done()
    queue.release(10 * TOKENS)
    await asyncio.wait_for(other, 10)


def test_a_prompt_weighs_what_is_computed_for_it() -> None:
    plain, shared = SubmissionQueue(TOKENS, PROMPTS, None), SubmissionQueue(TOKENS, PROMPTS, 64)
    assert plain.weight(200, 30) == 230
    assert shared.weight(200, 30) == 94
    assert shared.weight(50, 30) == 80
    assert shared.weight(1, 1) == 10, "a step has room for so many prompts, however short"
