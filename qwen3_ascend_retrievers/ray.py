"""Ray Data: `rerank_dataset`, the same reranker on a cluster. Needs the extra `ray`."""

from __future__ import annotations

from .tools.bulk.cluster import import_ray
from .tools.bulk.dataset import rerank_dataset

__all__ = ["rerank_dataset"]

import_ray()
