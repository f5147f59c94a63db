"""How much is measured. The records of one scale are never mixed with those of another."""

from __future__ import annotations

from dataclasses import dataclass

TOP_N = 10
WORDS = 110


@dataclass(frozen=True)
class Scale:
    """The numbers that decide how long the suite runs.

    Attributes:
        sizes: documents of a call, in the workloads of one caller.
        repeats: calls of a turn with so many documents, so that no turn is too short to time.
        rounds: turns of each contender; the first is dropped.
        documents: documents of a call, in the workloads of many callers.
        calls: async calls at once.
        slots: most connections or requests at once.
        latency: seconds until the server replies, in the workloads of many callers.
        waiting_calls: async calls at once of which most wait.
        waiting_rounds: fresh processes of each contender in that workload.
        long_call: documents of the call beside which a short one is timed.
        short_call: documents of that short one.
        balanced_calls: async calls at once to two servers.
        server_slots: requests that each of the two answers at once.
        hung_rounds: how often one of the two is stopped.
        layers: of the model in this process, in the 0.6B's shape; 0 for the bundled model.
        passages: short documents in all, for the engines of this process.
        queries: of the workload with several.
        long_passages: long documents.
        long_words: words of each, about as many tokens.
        engine_rounds: turns of each contender, of which none is dropped.
        ablation_passages: documents of the ablation.
        repeated_passages: documents of a query that comes twice.
        repeated_rounds: how often.
        cold_starts: fresh processes of each contender.
        streamed: pairs that pass through one engine.
    """

    sizes: tuple[int, ...] = (20, 100, 1_000, 10_000)
    repeats: tuple[int, ...] = (20, 10, 3, 1)
    rounds: int = 8
    documents: int = 20
    calls: int = 640
    slots: int = 64
    latency: float = 0.05
    waiting_calls: int = 10_000
    waiting_rounds: int = 3
    long_call: int = 10_000
    short_call: int = 5
    balanced_calls: int = 1_200
    server_slots: int = 8
    hung_rounds: int = 3
    layers: int = 28
    passages: int = 100
    queries: int = 10
    long_passages: int = 3
    long_words: int = 2_000
    engine_rounds: int = 2
    ablation_passages: int = 24
    repeated_passages: int = 5
    repeated_rounds: int = 5
    cold_starts: int = 3
    streamed: int = 1_000_000


FULL = Scale()
