"""What a warm call passes through: few files, and few calls for each document."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from langchain_core.documents import Document

import qwen3_ascend_retrievers
from qwen3_ascend_retrievers.langchain import Qwen3Rerank
from qwen3_ascend_retrievers.testing import FakeEngine

PACKAGE = str(Path(qwen3_ascend_retrievers.__file__).parent)


def test_a_warm_call_passes_few_files_with_few_calls() -> None:
    documents = [Document(f"document number {number}") for number in range(3)]
    rerank = Qwen3Rerank(engine=FakeEngine())
    rerank.compress_documents(documents, "what is it")
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls[frame.f_code.co_filename] += 1

    earlier = sys.getprofile()
    sys.setprofile(count)
    try:
        rerank.compress_documents(documents, "what is it")
    finally:
        sys.setprofile(earlier)
    # Python 3.12 has no frames for comprehensions any more, so that this is the bound of the older.
    assert len(calls) <= 17, sorted(calls)
    assert calls.total() < 149, calls
