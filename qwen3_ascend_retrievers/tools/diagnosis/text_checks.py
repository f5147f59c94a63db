"""What a server's other clients get, which send texts where this package sends token ids.

Published guides make three mistakes there: a server without a template is sent bare texts; the
official template file ends in one newline too few; a template is another model's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ...core.agreement import Agreement
from ...core.plan import Passage, Plan, Query
from ...core.prompt import DEFAULT_INSTRUCTION, document_part, query_part
from ...core.ranking import RankedDocument, best_scores, check_scores
from ...engines.base import Call, Engine
from ...errors import RerankError, TemplateMismatchError
from ...models.known_pairs import GUIDE
from ...reranker import Reranker
from .engine_checks import error_finding
from .findings import Finding, Measurement
from .logits import logit_of, logit_of_probability, noise_of
from .pairs import PairScores

# Between the guide's two documents, whose scores a good model drives to 1 and 0, where a newline
# changes nothing that float32 shows.
_PROBES: Final = (
    GUIDE.relevant,
    GUIDE.irrelevant,
    "Shanghai is the largest city of China by population.",
    "Beijing has been the host of the Olympic Games twice.",
    "Every country has a capital, where its government sits.",
)
_ISSUES: Final = "https://github.com/vllm-project/vllm/issues"
_NEWLINE_REMEDY: Final = (
    "Let the file of --chat-template end in three newlines: Jinja strips one, and the official "
    "qwen3_reranker.jinja has two. Or serve with qwen3-rerank serve, whose file is right. This "
    "package's scores are right already: it sends token ids."
)
_BARE_REMEDY: Final = (
    "Other clients that send bare texts (curl, CohereRerank, mteb's wrapper of vLLM) need the "
    "template: serve with qwen3-rerank serve, or with --chat-template and its file. This package "
    "sends the whole prompt itself."
)


def check_texts(reranker: Reranker, by_texts: Engine, bare: Reranker) -> list[Finding]:
    """What clients get that send the guide's pair as bare texts.

    Args:
        reranker: whose scores are those of the exact prompt.
        by_texts: a RemoteEngine for the same server, which may use no route but that of texts.
        bare: with a RemoteEngine for the same server, which sends texts as they are.
    """
    try:
        exact, texts = PairScores.of(reranker, GUIDE), PairScores.of(bare, GUIDE)
    except RerankError as error:
        message = f"not exercised: {error}"
        return [Finding("bare texts", "amber", message, "Check the server's log.")]
    findings: list[Finding] = []
    facts = reranker.engine.facts()
    if facts.token_ids:
        finding = _check_route(reranker, by_texts, bare, exact, texts)
        findings.append(finding)
        if finding.colour == "red":
            return findings
    return findings + ([] if _agree_by_noise(exact, texts) else [_bare_finding(exact, texts)])


def _check_route(
    reranker: Reranker, by_texts: Engine, bare: Reranker, exact: PairScores, texts: PairScores
) -> Finding:
    """Whether texts are scored as token ids are, by this side's template or the server's."""
    name = "texts to /v1/rerank"
    try:
        facts = by_texts.facts()
    except TemplateMismatchError as error:
        if _is_short_of_a_newline(reranker, bare):
            return _newline_finding(name, exact, texts)
        return replace(error_finding(error, name), name=name, measured=_measured(exact, texts))
    except RerankError as error:
        return replace(error_finding(error, name), name=name)
    if facts.template_verified:
        return Finding(name, "green", "scored exactly as token ids are")
    remedy = "Use vLLM 0.18 or later, whose /classify lets scores be compared."
    return Finding(name, "amber", "could not be compared with token ids", remedy)


def _newline_finding(name: str, exact: PairScores, texts: PairScores) -> Finding:
    message = (
        "the server's template ends in one newline too few: the guide's pair scores "
        f"{texts}, as the prompt without its last newline does; the exact prompt scores {exact}"
    )
    measured = _measured(exact, texts)
    return Finding(name, "red", message, _NEWLINE_REMEDY, f"{_ISSUES}/20478", measured)


def _bare_finding(exact: PairScores, texts: PairScores) -> Finding:
    message = (
        f"the server adds no template: as bare texts the guide's pair scores {texts}; as the "
        f"exact prompt {exact}"
    )
    measured = _measured(exact, texts)
    # Such a server is right for this package, and the one that docs/remote.md recommends.
    return Finding("bare texts", "green", message, _BARE_REMEDY, f"{_ISSUES}/19260", measured)


def _measured(exact: PairScores, texts: PairScores) -> dict[str, Measurement]:
    return {
        "relevant score": texts.scores[0],
        "irrelevant score": texts.scores[1],
        "relevant score of the exact prompt": exact.scores[0],
        "irrelevant score of the exact prompt": exact.scores[1],
    }


def _agree_by_noise(first: PairScores, second: PairScores) -> bool:
    """Whether both pairs of scores are of the same prompts, by what rounding may change."""
    # As scores, which one of them may have only.
    return all(
        abs(logit_of_probability(score) - logit_of_probability(other))
        <= noise_of(logit_of_probability(score))
        for score, other in zip(first.scores, second.scores, strict=True)
    )


def _is_short_of_a_newline(reranker: Reranker, bare: Reranker) -> bool:
    """Whether texts score as the prompts without their last newline do, and not as the exact."""
    try:
        texts = [result.score or 0.0 for result in _in_order(bare)]
        exact = tuple(map(logit_of, _in_order(reranker)))
        shorter = _logits_without_newline(reranker.engine)
    except RerankError:
        return False
    nearer_to_shorter = Agreement(shorter, exact, noise=0.0).holds(texts, logits=False)
    return nearer_to_shorter and not Agreement(exact, shorter, noise=0.0).holds(texts, logits=False)


def _in_order(reranker: Reranker) -> list[RankedDocument]:
    results = reranker.rank(GUIDE.query, _PROBES).results
    return sorted(results, key=lambda result: result.index)


def _logits_without_newline(engine: Engine) -> tuple[float, ...]:
    query = query_part(DEFAULT_INSTRUCTION, GUIDE.query)
    first, *others = engine.encode([query, *(document_part(text)[:-1] for text in _PROBES)])
    passages = tuple(
        Passage(0, text, (0, len(text)), tuple(encoding.ids))
        for text, encoding in zip(_PROBES, others, strict=True)
    )
    plan = Plan(
        (Query(GUIDE.query, DEFAULT_INSTRUCTION, query, tuple(first.ids)),),
        passages,
        inputs=tuple((at,) for at in range(len(passages))),
    )
    scores = best_scores(plan, check_scores(engine.score(plan, Call()), len(passages)))
    return tuple(
        logit_of_probability(score.score) if score.logit is None else score.logit
        for score in scores
    )
