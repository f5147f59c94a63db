"""The training loop: one thread per process, gradients averaged over gloo.

Two OpenMP threads in one process collapse when anything else runs on the machine; two
processes do not.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from forward import Batch, Network, Noise
from grading import GROUP, Groups
from model_files import save_weights
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import Qwen3ForCausalLM

BATCH_TOKENS = 4_000
HELD_OUT = 96
# From 1e-4 on, the hand-laid circuit is torn down within a hundred steps and never comes back:
# spread over many dimensions, its weights are small one by one.
RATE = 4e-5
EMBEDDING_RATE = 1e-4
_LARGEST_SHARE = 0.01
_WARMUP = 20
_NOISE = 0.01
_CHECKPOINT_SECONDS = 240


@dataclass(frozen=True)
class Course:
    """Everything that a training process needs; it is pickled to both."""

    model: Qwen3ForCausalLM
    yes: int
    no: int
    prefix: list[int]
    queries: list[list[int]]
    texts: list[list[int]]
    groups: Groups
    minutes: float
    seed: int
    out: Path

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The groups of these rows, padded."""
        queries = [self.queries[i] for i in self.groups.queries[rows]]
        texts = [self.texts[i] for i in self.groups.texts[rows].ravel()]
        wanted = torch.from_numpy(self.groups.wanted[rows])
        return Batch(torch.tensor(self.prefix), *_pad(queries), *_pad(texts), wanted)

    def plan(self, rng: np.random.Generator, processes: int) -> list[list[NDArray[np.int64]]]:
        """One pass in random order; at each step all processes get texts of like length."""
        lengths = np.array([len(text) for text in self.texts])
        longest = lengths[self.groups.texts].max(1)
        rows = np.arange(HELD_OUT, len(longest))
        rows = rows[np.argsort(longest[rows] * rng.uniform(0.9, 1.1, len(rows)))]
        batches: list[NDArray[np.int64]] = []
        start = 0
        while start < len(rows):
            stop, width = start + 1, longest[rows[start]]
            while stop < len(rows) and stop - start < 32:
                width = max(width, longest[rows[stop]])
                if GROUP * width * (stop + 1 - start) > BATCH_TOKENS:
                    break
                stop += 1
            batches.append(rows[start:stop])
            start = stop
        whole = len(batches) - len(batches) % processes
        steps = [batches[i : i + processes] for i in range(0, whole, processes)]
        rng.shuffle(steps)  # type: ignore[arg-type]
        return steps


def run(rank: int, processes: int, course: Course) -> None:
    """One process of the training; rank 0 also reports and writes checkpoints."""
    torch.set_num_threads(1)
    store = course.out / ".rendezvous"
    dist.init_process_group("gloo", f"file://{store.resolve()}", rank=rank, world_size=processes)
    noise = Noise(course.seed + rank)
    network = Network(course.model, course.yes, course.no, noise)
    parameters = list(course.model.parameters())
    optimizer = _optimizer(course.model)
    began = saved = time.monotonic()
    losses: list[float] = []
    for step, rows in enumerate(_batches(course, rank, processes), 1):
        noise.level = _NOISE
        loss = _loss(network, course.batch(rows))
        optimizer.zero_grad()
        loss.backward()
        elapsed = (time.monotonic() - began) / (60 * course.minutes)
        done = _average(parameters, elapsed, processes)
        _set_rate(optimizer, step, done)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        if rank == 0 and (done >= 1 or time.monotonic() - saved > _CHECKPOINT_SECONDS):
            noise.level = 0.0
            _report(network, course, step, done, losses)
            saved, losses = time.monotonic(), []
        if done >= 1:
            break
    if rank == 0:
        _calibrate(network, course)
    dist.barrier()
    dist.destroy_process_group()


def _batches(course: Course, rank: int, processes: int) -> Iterator[NDArray[np.int64]]:
    """This process's share, pass after pass; the clock ends it."""
    rng = np.random.default_rng(course.seed)
    while True:
        for batches in course.plan(rng, processes):
            yield batches[rank]


def _loss(network: Network, batch: Batch) -> Tensor:
    """Listwise against the wanted order, and a little pointwise so that 0.5 keeps a meaning."""
    logits = network.logits(batch)
    order = functional.kl_div(logits.log_softmax(1), batch.wanted.softmax(1), reduction="batchmean")
    level = functional.binary_cross_entropy_with_logits(logits, batch.wanted.sigmoid())
    return order + 0.3 * level


def _average(parameters: list[torch.nn.Parameter], elapsed: float, processes: int) -> float:
    """Average the gradients, and the elapsed share with them, so that all stop at one step."""
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads] + [torch.tensor([elapsed])])
    dist.all_reduce(flat)
    flat /= processes
    start = 0
    for grad in grads:
        grad.copy_(flat[start : start + grad.numel()].view_as(grad))
        start += grad.numel()
    return float(flat[-1])


def _optimizer(model: Qwen3ForCausalLM) -> torch.optim.Optimizer:
    """AdamW in which no weight moves by more than a hundredth of its tensor's size per step."""
    groups = []
    for name, weight in model.named_parameters():
        size = float(weight.detach().pow(2).mean().sqrt())
        rate = EMBEDDING_RATE if "embed" in name else RATE
        groups.append({"params": [weight], "peak": min(rate, _LARGEST_SHARE * size)})
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)


def _set_rate(optimizer: torch.optim.Optimizer, step: int, done: float) -> None:
    share = min(1.0, step / _WARMUP) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


@torch.no_grad()
def _held_out(network: Network, course: Course) -> tuple[Tensor, Tensor]:
    """Logits and wanted logits of the groups that are never trained on."""
    pairs = []
    for start in range(0, HELD_OUT, 8):
        batch = course.batch(np.arange(start, start + 8))
        pairs.append((network.logits(batch), batch.wanted))
    logits, wanted = zip(*pairs, strict=True)
    return torch.cat(logits), torch.cat(wanted)


def _report(network: Network, course: Course, step: int, done: float, losses: list[float]) -> None:
    logits, wanted = _held_out(network, course)
    order = functional.kl_div(logits.log_softmax(1), wanted.softmax(1), reduction="batchmean")
    top = float((logits.argmax(1) == wanted.argmax(1)).float().mean())
    mean = sum(losses) / len(losses)
    print(f"{done:4.0%} step {step}: loss {mean:.4f}, held out {order:.4f}, best first {top:.1%}",
          flush=True)  # fmt: skip
    save_weights(course.model, course.out)


@torch.no_grad()
def _calibrate(network: Network, course: Course) -> None:
    """Scale the last norm so that held-out scores say "the answer" or "not" most clearly.

    One factor for all logits: it moves no order, and bf16 error stays the same share of the range.
    """
    logits, wanted = _held_out(network, course)
    labels = (wanted > 0).float()
    scales = [0.5 + 0.05 * i for i in range(51)]
    losses = [
        float(functional.binary_cross_entropy_with_logits(s * logits, labels)) for s in scales
    ]
    best = scales[losses.index(min(losses))]
    course.model.model.norm.weight.mul_(best)
    print(f"calibration: logits times {best:.2f}", flush=True)
    save_weights(course.model, course.out)


def _pad(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    padded = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return padded, torch.tensor([len(row) for row in rows])
