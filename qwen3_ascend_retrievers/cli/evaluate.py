"""`qwen3-rerank eval`: rerank a run and measure it before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .._util.atomic_files import write_bytes, write_text
from ..reranker import Reranker
from ..settings import whole_number
from ..tools.evaluation.collection import read_corpus, read_queries
from ..tools.evaluation.first_stage import bm25_run
from ..tools.evaluation.journal import Journal
from ..tools.evaluation.measures import (
    DEFAULT_MEASURES,
    Comparison,
    check_judged,
    compare,
    parse_measures,
)
from ..tools.evaluation.plot import png
from ..tools.evaluation.reranking import Task, rerank_run
from ..tools.evaluation.runs import Qrels, Run, read_qrels, read_run, write_run
from ..tools.evaluation.thresholds import ThresholdEffect, best_threshold, threshold_effects
from ..tools.wording import counted
from .evaluation_files import EvaluationFiles
from .options import EngineOptions, Json
from .output import err, out, print_json, print_note
from .running import command


@command
def eval_command(
    files: EvaluationFiles,
    *,
    depth: Annotated[int, typer.Option(help="Documents of each query to rerank.")] = 100,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="Any of ir-measures, such as nDCG@10, RR@10, R@50; may be repeated.",
            show_default=", ".join(DEFAULT_MEASURES),
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Discard the finished queries of an interrupted run.")
    ] = False,
    json: Json = False,
    options: EngineOptions,
) -> None:
    """Rerank a run and measure it before and after.

    Finished queries are kept in OUTPUT.journal: after an interruption the same command continues.

    Input that would be measured wrongly is refused with its line number before any work: malformed
    lines, one id with two texts or grades, ids with white space or invisible characters. A run is
    ordered by its scores, whatever its ranks say.

    A second table says what a score threshold would keep of the reranked run, over all judged
    queries together: documents kept, how many of them are relevant or not judged, precision,
    recall and F1, and how many queries are left empty. Not judged counts as not relevant, and
    recall is of all relevant documents, those included that the run does not have. With
    --first-model there is no such table, and the run's scores say no more than the order.

    Example: qwen3-rerank eval --bm25 --depth 50 --queries q.jsonl --corpus c.jsonl
    --qrels qrels.tsv --base-url http://npu-host:8000
    """
    files.check()
    measures = parse_measures(measure or DEFAULT_MEASURES)
    qrels = read_qrels(files.qrels)
    task = _task(files, whole_number("--depth", depth, minimum=1))
    check_judged(qrels, task.run)
    _note_unmatched(qrels, task.run)
    with options.reranker(show_progress=False) as reranker:
        after, model = _rerank_with_journal(files, task, reranker, fresh)
    comparisons = compare(measures, qrels, task.run, after)
    _write_files(files, comparisons, f"{model}, {_query_count(len(task.run))}, depth {depth}")
    # Scores of two models have no threshold in common.
    thresholds = None
    if options.first_model is None:
        thresholds = threshold_effects(qrels, after), best_threshold(qrels, after)
    if json:
        report = _comparison_json(comparisons, files, model)
        print_json(report | (_thresholds_json(*thresholds) if thresholds else {}))
        return
    out().print(_comparison_table(comparisons))
    if thresholds is not None:
        out().print()
        out().print(_threshold_table(*thresholds))
    print_note(f"The reranked run is in {files.output}.")


def _note_unmatched(qrels: Qrels, run: Run) -> None:
    """Count the queries that are measured as 0, and those that are not measured."""
    if unsearched := len(qrels.keys() - run.keys()):
        print_note(
            "Not in the run, and counted as 0: "
            f"{unsearched} of {_query_count(len(qrels), 'judged ')}."
        )
    if unjudged := len(run.keys() - qrels.keys()):
        print_note(
            f"Not judged, and not measured: {unjudged} of the run's {_query_count(len(run))}."
        )


def _query_count(number: int, kind: str = "") -> str:
    return counted(number, f"{kind}query", f"{kind}queries")


def _task(files: EvaluationFiles, depth: int) -> Task:
    queries = read_queries(files.queries)
    if files.run is None:
        corpus = read_corpus(files.corpus)
        run = bm25_run(corpus, queries, depth)
        write_run(files.first_stage(), run, "bm25")
        return Task(run, queries, corpus)
    run = {query: documents[:depth] for query, documents in read_run(files.run).items()}
    document_ids = {document for documents in run.values() for document, _ in documents}
    return Task(run, queries, read_corpus(files.corpus, document_ids))


def _rerank_with_journal(
    files: EvaluationFiles, task: Task, reranker: Reranker, fresh: bool
) -> tuple[Run, str]:
    journal = Journal(files.journal(), task.fingerprint(reranker), task.run, fresh=fresh)
    if journal.finished:
        print_note(f"Finished before: {len(journal.finished)} of {_query_count(len(task.run))}.")
    try:
        with _progress_bar(len(task.run)) as bar:
            after = rerank_run(task, reranker, journal, bar)
        model = reranker.engine.facts().model
        write_run(files.output, after, "qwen3-rerank")
    # Also on Ctrl-C and SIGTERM.
    except BaseException:
        print_note(
            f"Finished, and kept in {journal.path}: {len(journal.finished)} of "
            f"{_query_count(len(task.run))}. The same command continues from there."
        )
        raise
    else:
        journal.remove()
        return after, model
    finally:
        journal.close()


@contextmanager
def _progress_bar(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar of `total` queries on stderr, if that is a terminal."""
    columns = (
        TextColumn("reranking"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("queries"),
        TimeRemainingColumn(),
    )
    console = err()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=total)
        yield lambda queries: progress.advance(bar, queries)


def _write_files(files: EvaluationFiles, comparisons: Sequence[Comparison], title: str) -> None:
    if files.per_query is not None:
        rows = ["query\tmeasure\tbefore\tafter\tdelta\n"]
        rows += [
            f"{query}\t{comparison.measure}\t{before:.6f}\t{after:.6f}\t{after - before:+.6f}\n"
            for comparison in comparisons
            for query, (before, after) in comparison.per_query.items()
        ]
        write_text(files.per_query, "".join(rows))
    if files.plot is not None:
        write_bytes(files.plot, png(comparisons, title))


def _comparison_json(
    comparisons: Sequence[Comparison], files: EvaluationFiles, model: str
) -> dict[str, Any]:
    return {
        "model": model,
        "output": str(files.output),
        "measures": {
            comparison.measure: {
                "before": comparison.before,
                "after": comparison.after,
                "p_randomization": comparison.p_randomization,
                "p_t": comparison.p_t,
                "per_query": {
                    query: {"before": before, "after": after}
                    for query, (before, after) in comparison.per_query.items()
                },
            }
            for comparison in comparisons
        },
    }


def _comparison_table(comparisons: Sequence[Comparison]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("measure")
    headings = ("before", "after", "change", "better", "same", "worse", "p (random.)", "p (t-test)")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for comparison in comparisons:
        deltas = comparison.deltas()
        better, worse = sum(delta > 0 for delta in deltas), sum(delta < 0 for delta in deltas)
        table.add_row(
            comparison.measure,
            f"{comparison.before:.4f}",
            f"{comparison.after:.4f}",
            f"{comparison.after - comparison.before:+.4f}",
            str(better),
            str(len(deltas) - better - worse),
            str(worse),
            f"{comparison.p_randomization:.4f}",
            f"{comparison.p_t:.4f}",
        )
    return table


def _thresholds_json(
    effects: Sequence[ThresholdEffect], best: ThresholdEffect | None
) -> dict[str, Any]:
    return {
        "thresholds": [_effect_json(effect) for effect in effects],
        "highest_f1": None if best is None else _effect_json(best),
    }


def _effect_json(effect: ThresholdEffect) -> dict[str, Any]:
    ratios = {"precision": effect.precision, "recall": effect.recall, "f1": effect.f1}
    return asdict(effect) | ratios


def _threshold_table(effects: Sequence[ThresholdEffect], best: ThresholdEffect | None) -> Table:
    """By threshold; the one with the highest F1 is among them, with a star."""
    caption = None if best is None else "* the highest F1"
    table = Table(
        box=None, header_style="bold", pad_edge=False, caption=caption, caption_justify="left"
    )
    table.add_column("threshold", no_wrap=True)
    headings = ("kept", "relevant", "unjudged", "precision", "recall", "F1", "empty")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    others = [effect for effect in effects if best is None or effect.threshold != best.threshold]
    for effect in sorted([*others, *filter(None, [best])], key=lambda effect: effect.threshold):
        precision = effect.precision
        table.add_row(
            f"{effect.threshold}{' *' if effect is best else ''}",
            *map(str, (effect.kept, effect.relevant, effect.unjudged)),
            "-" if precision is None else f"{precision:.4f}",
            f"{effect.recall:.4f}",
            f"{effect.f1:.4f}",
            str(effect.empty_queries),
            style="bold" if effect is best else "",
        )
    return table
