"""Answers to the questions of a handshake without any HTTP. No tests here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qwen3_ascend_retrievers.core.steps import drive
from qwen3_ascend_retrievers.engines.remote.protocol.canary import (
    AskClassify,
    AskRerank,
    AskTokens,
    KnownTokens,
    handshake_steps,
)
from qwen3_ascend_retrievers.engines.remote.protocol.dialects.vllm import VLLM
from qwen3_ascend_retrievers.engines.remote.protocol.rerank_api import (
    ScoreReply,
    classify_body,
    read_classify,
    read_rerank,
)
from qwen3_ascend_retrievers.engines.remote.protocol.template_owner import Mode, RequestedMode
from support.rerank_answers import TINY, RerankAnswers, Setup, tokens_of


@dataclass
class CanaryAnswers:
    """Answers the canaries as a server of that setup would.

    Attributes:
        local: whether there is a tokenizer on this side.
        noise: added to the logits of every second reply, as bf16 does between batches.
    """

    setup: Setup
    local: bool = False
    noise: float = 0.0
    replies: int = 0

    def answer(self, question: Any) -> Any:
        self.replies += 1
        answers = RerankAnswers(self.setup)
        if isinstance(question, AskTokens):
            if not self.local and not self.setup.has_tokenize:
                return None
            ids = tuple(tokens_of(text, TINY) for text in question.texts)
            return KnownTokens(ids, proven=self.setup.has_tokenize, local=self.local)
        if isinstance(question, AskClassify):
            if not (self.setup.has_classify and self.setup.overrides):
                return None
            body = classify_body("tiny", question.prompts, logits=question.logits)
            reply = answers.classify(body)
            scores = read_classify(reply, {}, len(question.prompts), logits=True)
            return self._noisy(scores, question.logits)
        assert isinstance(question, AskRerank)
        body = VLLM.rerank_body(
            "tiny", question.query, question.documents, instruction=question.instruction,
            logits=question.logits,
        )  # fmt: skip
        scores = read_rerank(answers.rerank(body), {}, len(question.documents), logits=True)
        return self._noisy(scores, question.logits)

    def _noisy(self, answer: ScoreReply, logits: bool) -> ScoreReply:
        if not logits or not self.noise or self.replies % 2:
            return answer
        values = tuple(value + self.noise for value in answer.values)
        return ScoreReply(values, answer.tokens, answer.model)

    def handshake(self, **requested: Any) -> Mode:
        return drive(handshake_steps(RequestedMode(**requested), VLLM), self.answer)
