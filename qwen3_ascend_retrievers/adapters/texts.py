"""Documents of which some have no text, such as images: what is scored, and the ranking of all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..core.ranking import RankedDocument
from ..core.results import Ranking
from ..errors import TooLongError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DocumentTexts:
    """The texts of a call's documents.

    Attributes:
        texts: for each document its text, or None if it has none.
    """

    texts: Sequence[str | None]

    def scored(self) -> list[str]:
        """The texts to score: those of documents that have one."""
        return [text for text in self.texts if text is not None]

    @contextmanager
    def renumbered(self) -> Iterator[None]:
        """Makes errors of ranking `scored()` name the position among all documents."""
        try:
            yield
        except TooLongError as error:
            if error.index is None:
                raise
            at = self._scored_positions()[error.index]
            message = str(error).replace(f"documents[{error.index}]", f"documents[{at}]", 1)
            raise TooLongError(message, index=at) from error.__cause__

    def complete(self, ranking: Ranking, top_n: int | None) -> Ranking:
        """The ranking of all documents, from the one of `scored()`.

        Documents without a score follow in the input's order, also under a threshold, and count
        for `top_n`. Where the input's order was kept, it is the order of all.
        """
        without_text = [
            RankedDocument(at, "", None) for at, text in enumerate(self.texts) if text is None
        ]
        if not without_text:
            return ranking
        if ranking.status == "kept_order":
            results = [RankedDocument(at, text or "", None) for at, text in enumerate(self.texts)]
            return replace(ranking, results=tuple(results[:top_n]))
        logger.warning(
            "%d of %d documents have no text and are not scored; the first is documents[%d].",
            len(without_text),
            len(self.texts),
            without_text[0].index,
        )
        positions = self._scored_positions()
        ranked = [replace(result, index=positions[result.index]) for result in ranking.results]
        scored = [document for document in ranked if document.score is not None]
        unscored = [document for document in ranked if document.score is None] + without_text
        unscored.sort(key=lambda document: document.index)
        return replace(ranking, results=tuple([*scored, *unscored][:top_n]))

    def _scored_positions(self) -> list[int]:
        return [at for at, text in enumerate(self.texts) if text is not None]
