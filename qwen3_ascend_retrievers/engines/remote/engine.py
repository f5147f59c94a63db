"""RemoteEngine: the Engine whose model is behind `/v1/rerank`; the work is in failover.py.

The HTTP client lives in the loop of a thread; sync and async methods hand the same coroutine over.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import httpx
from pydantic import SecretStr

from ...core.plan import Plan
from ...core.ranking import PassageScore
from ...core.tokens import Tokens
from ...errors import InvalidInputError, RerankError
from ..base import Call, EngineFacts
from ..configured import Configured
from ..loop_thread import LoopThread, Work, end_tasks
from .config import Balance, RemoteConfig, addresses_of, headers_of, key_of, masked
from .failover import THREAD_NAME, Failover, OwnClients
from .http.causes import public_error
from .protocol.discovery import AUTO
from .protocol.template_owner import RequestedMode, RouteChoice, ScoreChoice, TemplateChoice

Result = TypeVar("Result")


class RemoteEngine(Configured):
    """Scores by a server: vLLM or vLLM-Ascend, or another of the dialects in docs/remote.md.

    At first use it asks the server for its model and sends a few canaries, to find out who applies
    the prompt's template and whether the scores are right. Safe to share between threads and
    event loops: all calls share one pool of connections. Close it, or use it in `with`.

    Args:
        base_url: the server, with or without `/v1`, or the whole URL of its route of reranking; or
            a list of replicas of one model, of which `balance` chooses.
        model: the name that the server knows; None takes the one it serves.
        api_key: sent as a bearer token; None reads QWEN3_RERANK_API_KEY.
        dialect: which family the server is of, a name in docs/remote.md: "vllm", "sglang", "tei",
            "llamacpp", "cohere", "dashscope", "siliconflow". "auto" finds it at first contact.
        template: "auto" finds out who applies the template; "client" and "server" insist on one
            of them; "none" sends texts as they are, control tokens included, and checks nothing:
            for other models, or for texts that hold the prompt already.
        protocol: "classify" sends token ids to `/classify` (vLLM 0.18 or later, exact whatever
            the server's template); "rerank" sends texts to `/v1/rerank`; "auto" takes "classify"
            if ids cost no request, or if the server's template is wrong.
        scores: what the server's numbers are: "probability" in [0, 1], or "logit", of which the
            score is the sigmoid; "auto" is as the dialect has it.
        timeout: seconds for one request, above 0.
        deadline: seconds for a whole ranking with its retries, above 0; the handshake with a
            server has as many for itself.
        max_retries: how often a request is sent again, whatever the failure; 0 never does. None:
            three times after a lost connection, a timeout or a failing server, and as long as the
            deadline allows if the server asks to come back later (429, 503, Retry-After).
        max_connections: connections to each server, which is how many requests of all calls
            together are under way there at once; 64 by default. The others take turns, call by
            call. One call has at most eight requests under way.
        batch_size: documents in one request, at most.
        headers: sent with every request.
        verify: False to accept any certificate, or a CA file or folder, or an SSLContext.
        http_client: an httpx.Client to use in sync calls (proxy, mTLS, unix socket); not closed.
        async_http_client: an httpx.AsyncClient to use in async calls; not closed.
        tokenizer: "tiny", a folder or a hub id: counts tokens here instead of asking the server.
        tokenizer_revision: branch, tag or commit of a hub id.
        backoff: seconds of the first pause before a retry; doubled each time, with jitter.
        cooldown: seconds that a failed replica is left alone.
        trust_env: whether the environment's proxies and certificates are used (HTTP_PROXY,
            HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE, SSL_CERT_DIR).
        balance: "failover" uses the first server of the list that works; "least_busy" gives each
            ranking to the server with the fewest texts under way, and rankings of the same query
            to the same server while that is no busier.

    Raises:
        InvalidInputError: an argument of the wrong type or out of range.
    """

    tag = "remote"

    def __init__(
        self,
        base_url: str | Sequence[str],
        model: str | None = None,
        api_key: str | SecretStr | None = None,
        *,
        dialect: str = AUTO,
        template: TemplateChoice = "auto",
        protocol: RouteChoice = "auto",
        scores: ScoreChoice = "auto",
        timeout: float = 30.0,
        deadline: float = 120.0,
        max_retries: int | None = None,
        max_connections: int = 64,
        batch_size: int = 32,
        headers: Mapping[str, str] | None = None,
        verify: Any = True,
        http_client: httpx.Client | None = None,
        async_http_client: httpx.AsyncClient | None = None,
        tokenizer: str | None = None,
        tokenizer_revision: str | None = None,
        backoff: float = 0.25,
        cooldown: float = 10.0,
        trust_env: bool = True,
        balance: Balance = "failover",
    ) -> None:
        api_key, headers = masked(api_key), masked(headers)
        self._config = RemoteConfig(
            addresses=addresses_of(base_url),
            model=model,
            dialect=dialect,
            api_key=key_of(api_key),
            requested=RequestedMode(template=template, protocol=protocol, scores=scores),
            timeout=timeout,
            deadline=deadline,
            max_retries=max_retries,
            max_connections=max_connections,
            batch_size=batch_size,
            headers=headers_of(headers),
            verify=verify,
            tokenizer=tokenizer,
            tokenizer_revision=tokenizer_revision,
            backoff=backoff,
            cooldown=cooldown,
            trust_env=trust_env,
            balance=balance,
        )
        self._clients = OwnClients.checked(http_client, async_http_client)
        self._failover = Failover(self._config, self._clients)
        self._loop_thread = LoopThread(
            THREAD_NAME,
            partial(_finish, self._failover),
            join_seconds=5.0,
            restarts_after_fork=True,
        )
        # An engine that nobody closes leaves no thread and no socket behind either.
        weakref.finalize(self, self._loop_thread.stop)

    def config(self) -> dict[str, Any]:
        """Constructor arguments without the key, the headers and http clients."""
        return self._config.config()

    def unwritten(self) -> list[str]:
        """Of `api_key` and `headers` those that it has; a key from the environment is none."""
        has_own_key = self._config.api_key not in (None, key_of(None))
        return ["api_key"] * has_own_key + ["headers"] * bool(self._config.headers)

    def tagged_config(self) -> dict[str, Any]:
        """`config()` with the engine's tag under "engine".

        Raises:
            InvalidInputError: the engine has a client or an SSLContext that cannot be written
                down, and would be another engine without it.
        """
        if self._clients.has_any or not isinstance(self._config.verify, bool | str):
            raise InvalidInputError(
                "A RemoteEngine with its own http client or SSLContext cannot be written down or "
                "copied. Leave the engine out and set it again after loading."
            )
        return super().tagged_config()

    def facts(self) -> EngineFacts:
        """The served model and how it is asked; makes the handshake if need be."""
        cached = self._failover.cached_facts()
        return self._run(self._failover.facts()) if cached is None else cached

    async def afacts(self) -> EngineFacts:
        """The same without blocking the event loop."""
        cached = self._failover.cached_facts()
        return await self._arun(self._failover.facts()) if cached is None else cached

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokens by the tokenizer that was set, else by the server's `/tokenize`."""
        return self._run(self._failover.encode(texts))

    async def aencode(self, texts: Sequence[str]) -> list[Tokens]:
        """The same without blocking the event loop."""
        return await self._arun(self._failover.encode(texts))

    def score(self, plan: Plan, call: Call) -> list[PassageScore]:
        """One score for each of `plan.passages`, all from the same server.

        A text that the server refuses while it takes others is Unscored.

        Raises:
            RemoteError: see errors.py; `status` and `request_id` say more.
            TooLongError: a document does not fit the server even after cutting it harder.
            RerankCancelled: the caller wanted to stop.
        """
        return self._run(self._failover.score(plan, call))

    async def ascore(self, plan: Plan, call: Call) -> list[PassageScore]:
        """The same without blocking the event loop."""
        return await self._arun(self._failover.score(plan, call))

    def close(self) -> None:
        """Close connections and thread; calls under way end in EngineClosedError."""
        self._loop_thread.stop()

    def _run(self, work: Work[Result]) -> Result:
        if self._clients.has_any and self._clients.sync is None:
            work.close()
            raise InvalidInputError("A sync call needs http_client=... beside async_http_client.")
        try:
            return self._loop_thread.run(work)
        except RerankError as error:
            failure = public_error(error)
        raise failure

    async def _arun(self, work: Work[Result]) -> Result:
        if self._clients.has_any and self._clients.asynchronous is None:
            work.close()
            raise InvalidInputError("An async call needs async_http_client=... beside http_client.")
        try:
            if self._clients.has_any:
                return await self._loop_thread.arun_here(work)
            return await self._loop_thread.arun(work)
        except RerankError as error:
            failure = public_error(error)
        raise failure


async def _finish(failover: Failover) -> None:
    # No method: a thread that knew the engine would keep it from ever being collected.
    await end_tasks()
    await failover.leave()
    await asyncio.get_running_loop().shutdown_default_executor()
