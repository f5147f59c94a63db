"""The checks of `qwen3-rerank doctor`: of this machine, and of an engine or a server.

Each check returns findings; showing them is the command line's part. A proof is what is written of
them, to be sent and compared.
"""

from .differences import ComparedValue, compare_proofs
from .engine_checks import check_engine
from .environment import check_environment, versions
from .findings import Colour, Finding, worst
from .proof import EngineRecord, Proof, read_proof
from .text_checks import check_texts

__all__ = [
    "Colour",
    "ComparedValue",
    "EngineRecord",
    "Finding",
    "Proof",
    "check_engine",
    "check_environment",
    "check_texts",
    "compare_proofs",
    "read_proof",
    "versions",
    "worst",
]
