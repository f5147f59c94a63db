"""What a server was found to take in one request, learnt from its refusals."""

from __future__ import annotations

import logging
from dataclasses import dataclass

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LearnedLimits:
    """Limits of one server that later requests keep to.

    Attributes:
        documents: most documents of a request; None as long as none was refused for their number.
        tokens: most tokens of a request, by this side's count or estimate; None likewise.
        prompt_tokens: most tokens of one prompt; None as long as no refusal has named it.
    """

    documents: int | None = None
    tokens: int | None = None
    prompt_tokens: int | None = None

    def learn(self, name: str, limit: int) -> None:
        """Lower a limit, and log it; a higher one than is known already changes nothing."""
        known = getattr(self, name)
        if limit > 0 and (known is None or limit < known):
            setattr(self, name, limit)
            logger.info("The server takes at most %d %s in a request.", limit, name)
