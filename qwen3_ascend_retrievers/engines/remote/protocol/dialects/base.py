"""What a dialect says of its servers. Nothing is sent from here, and nothing is remembered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..template_owner import IGNORED_INSTRUCTION, PlainScore

# "measured": by token counts, if the server counts.
TemplateKnowledge = Literal["measured", "client", "server"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words in which a family's servers refuse a request; None where they have none for it.

    They are searched in the error's message, whichever server is asked: gateways pass them on.

    Attributes:
        too_long: a text, or all together, has too many tokens or bytes. The first group that
            matches is the limit in tokens, if it is said.
        too_long_statuses: the HTTP statuses that these words come with.
        too_many: too many documents in one request. The first group that matches is the limit.
        busy: the server has no room for so many documents now.
        busy_statuses: the HTTP statuses that these words come with.
        unknown_model: it does not serve a model of that name.
        wrong_key: there is no key, or a wrong one, where the status does not say so.
    """

    too_long: re.Pattern[str] | None = None
    too_long_statuses: tuple[int, ...] = (400, 413, 422)
    too_many: re.Pattern[str] | None = None
    busy: re.Pattern[str] | None = None
    busy_statuses: tuple[int, ...] = (503,)
    unknown_model: re.Pattern[str] | None = None
    wrong_key: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """What a server says of itself at a route of its own.

    Attributes:
        max_length: most tokens of a prompt; None if it does not say.
        max_documents: most documents of a request; None if it does not say.
        template: who templates, if it shows that.
        scores: what its numbers are, if it shows that.
        problem: why it cannot rerank, and what to do; None if it can.
    """

    max_length: int | None = None
    max_documents: int | None = None
    template: TemplateKnowledge | None = None
    scores: PlainScore | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailsRoute:
    """A GET route at which a server describes itself.

    Attributes:
        path: under the server's root.
        read: from the parsed reply; None if the reply is not of this family.
    """

    path: str
    read: Callable[[Any], Details | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeRoute:
    """A route that returns a text's token ids.

    Attributes:
        path: under the server's root.
        text_field: the request's field of the text.
        constants: further fields of every request, so that no token is added.
        sends_model: whether requests name the model.
        read: from the parsed reply to the ids, and the tokens' strings if they are sent; raises
            ReplyError.
    """

    path: str
    text_field: str
    constants: Mapping[str, Any]
    sends_model: bool = False
    read: Callable[[Any], tuple[tuple[int, ...], tuple[str, ...] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a family of servers is asked for scores.

    Attributes:
        name: in `dialect=`.
        servers: the family, for people.
        routes: of reranking, under the server's root; the first that is there is used.
        owners: `owned_by` in `/v1/models`, by which it is found.
        hosts: ends of host names, by which it is found.
        documents_field: the request's field of the documents.
        instruction_field: the one of the instruction; None if there is none.
        logits_field: the field and value that ask for logits; None if they cannot be asked for.
        constants: further fields of every request.
        sends_top_n: whether requests ask for all documents by `top_n`; else it is left out.
        sends_model: whether requests name the model.
        needs_model: whether they must.
        lists_models: whether there is `/v1/models`.
        tokenize: its route for token ids; None if there is none.
        classifies_ids: whether `/classify` scores token ids, as vLLM's does.
        details: the route at which a server describes itself; None if there is none. It is read
            after the dialect was found; where `lists_models` is False, it is also tried on
            servers that nothing else tells.
        template: who templates.
        counts_prompts: whether its token counts are of whole prompts, and in tokens, so that they
            show who templates.
        scores: what its numbers are, unless logits were asked for.
        max_documents: most documents of a request; None if there is no fixed limit.
        max_length: most tokens of a text; None if there is no fixed limit.
        inexact: why the exact prompt never arrives, and what to do; None where it may.
        ignored_instruction: what to do where an instruction could not reach the prompt.
        words: in which it refuses.
    """

    name: str
    servers: str
    routes: tuple[str, ...]
    owners: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    documents_field: str = "documents"
    instruction_field: str | None = None
    logits_field: tuple[str, bool] | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)
    sends_top_n: bool = False
    sends_model: bool = True
    needs_model: bool = False
    lists_models: bool = True
    tokenize: TokenizeRoute | None = None
    classifies_ids: bool = False
    details: DetailsRoute | None = None
    template: TemplateKnowledge = "measured"
    counts_prompts: bool = True
    scores: PlainScore = "probability"
    max_documents: int | None = None
    max_length: int | None = None
    inexact: str | None = None
    ignored_instruction: str = IGNORED_INSTRUCTION
    words: Words = Words()

    def rerank_body(
        self,
        model: str | None,
        query: str,
        documents: Sequence[str],
        *,
        instruction: str | None = None,
        logits: bool = False,
    ) -> dict[str, Any]:
        """A request for the scores of all documents."""
        body: dict[str, Any] = {"query": query, self.documents_field: list(documents)}
        body |= self.constants
        if self.sends_top_n:
            body["top_n"] = len(documents)
        if self.sends_model and model is not None:
            body["model"] = model
        if self.logits_field is not None and logits:
            name, value = self.logits_field
            body[name] = value
        if self.instruction_field is not None and instruction is not None:
            body[self.instruction_field] = instruction
        return body

    def tokenize_body(self, route: TokenizeRoute, model: str | None, text: str) -> dict[str, Any]:
        """A request for the tokens of `text` and nothing else."""
        body: dict[str, Any] = {route.text_field: text, **route.constants}
        return body | {"model": model} if route.sends_model and model is not None else body

    def with_details(self, details: Details) -> Dialect:
        """The same for one server, with what it says of itself."""
        return replace(
            self,
            template=details.template or self.template,
            scores=details.scores or self.scores,
            max_length=least(self.max_length, details.max_length),
            max_documents=least(self.max_documents, details.max_documents),
        )


@dataclass(frozen=True, slots=True)
class RerankRoute:
    """Where and how a server is asked for scores of texts.

    Attributes:
        path: under its root.
        dialect: what it speaks.
        model: the model's name in requests; None leaves it out.
        any_number: whether its numbers may be outside [0, 1] without being asked for as logits.
    """

    path: str
    dialect: Dialect
    model: str | None
    any_number: bool = False


def size_of(value: Any) -> int | None:
    """A limit in a server's reply: an int above 0; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def least(*limits: int | None) -> int | None:
    """The least of the limits that there are; None if there are none."""
    return min((limit for limit in limits if limit is not None), default=None)
