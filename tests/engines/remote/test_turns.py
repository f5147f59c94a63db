"""Turns at a server: fair between callers, cheap to wait for, never lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from qwen3_ascend_retrievers.engines.remote.http.turns import Starts, Turns


async def waiting(turns: Turns, served: list[str], caller: str, *, first: bool = False) -> None:
    await turns.wait(caller, first=first)
    served.append(caller)


def queue(turns: Turns, served: list[str], *callers: str) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(waiting(turns, served, caller)) for caller in callers]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def give_back(turns: Turns, times: int) -> None:
    for _ in range(times):
        turns.give_back()
        await settle()


async def test_no_more_than_the_limit() -> None:
    turns = Turns(2)
    assert turns.take_free()
    assert turns.take_free()
    assert not turns.take_free()
    turns.give_back()
    assert turns.take_free()


async def test_a_short_call_passes_the_rest_of_a_long_one() -> None:
    turns, served = Turns(1), list[str]()
    assert turns.take_free()
    tasks = queue(turns, served, "long", "long", "long", "short")
    await settle()
    await give_back(turns, 4)
    assert served == ["long", "short", "long", "long"]
    await asyncio.gather(*tasks)


async def test_a_handshake_goes_first() -> None:
    turns, served = Turns(1), list[str]()
    assert turns.take_free()
    tasks = queue(turns, served, "a", "b")
    await settle()
    tasks.append(asyncio.ensure_future(waiting(turns, served, "handshake", first=True)))
    await settle()
    await give_back(turns, 3)
    assert served == ["handshake", "a", "b"]
    await asyncio.gather(*tasks)


async def test_a_cancelled_wait_costs_nobody_a_turn() -> None:
    turns, served = Turns(1), list[str]()
    assert turns.take_free()
    tasks = queue(turns, served, "a", "a", "b")
    await settle()
    tasks[0].cancel()
    await settle()
    await give_back(turns, 2)
    assert served == ["a", "b"]
    await give_back(turns, 1)
    assert turns.take_free()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_a_turn_that_comes_as_the_wait_is_cancelled_goes_on() -> None:
    turns, served = Turns(1), list[str]()
    assert turns.take_free()
    late, other = queue(turns, served, "late", "other")
    await settle()
    turns.give_back()
    late.cancel()
    await settle()
    assert served == ["other"]
    assert late.cancelled()
    await other


async def test_a_few_calls_start_in_each_round_of_the_loop() -> None:
    starts, rounds = Starts(), list[int]()
    at_round = 0

    async def call() -> None:
        await starts.take()
        rounds.append(at_round)

    calls = [asyncio.ensure_future(call()) for _ in range(50)]
    calls[20].cancel()
    while not all(task.done() for task in calls):
        await asyncio.sleep(0)
        at_round += 1
    counts = Counter(rounds)
    assert sum(counts.values()) == 49
    assert max(counts.values()) <= 8
    await asyncio.wait_for(starts.take(), 60)


async def test_turns_are_given_back_past_waits_that_are_over() -> None:
    turns, served = Turns(1), list[str]()
    assert turns.take_free()
    (task,) = queue(turns, served, "a")
    await settle()
    task.cancel()
    # Before the task has seen it.
    turns.give_back()
    await settle()
    assert turns.take_free()
    assert not served
