"""The prompt of Qwen3-Reranker, and the rule that keeps user text from steering it.

Only text is built here; tokens are in tokens.py. Source of every constant: the model card,
https://huggingface.co/Qwen/Qwen3-Reranker-0.6B.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

from ..errors import InvalidInputError

PREFIX: Final = (
    "<|im_start|>system\n"
    "Judge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX: Final = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
DEFAULT_INSTRUCTION: Final = (
    "Given a web search query, retrieve relevant passages that answer the query"
)

# English, because the model card says that most training instructions were.
INSTRUCTIONS: Final[dict[str, str]] = {
    "web_search": DEFAULT_INSTRUCTION,
    "question_answering": "Given a question, retrieve passages that answer the question",
    "code_search": "Given a description of a task, retrieve code that solves it",
    "fact_checking": "Given a claim, retrieve documents that support or refute the claim",
    "duplicate_question": "Given a question, retrieve questions that ask the same thing",
    "faq": "Given a customer's question, retrieve the FAQ entry that answers it",
    "argument": "Given a claim, retrieve documents that argue against the claim",
    "scientific": "Given a title or an abstract, retrieve scientific papers that are related to it",
    "entity": "Given the name of an entity, retrieve its description",
    "conversation": (
        "Given a conversation and its last question, retrieve passages that answer that question"
    ),
    "chinese_web_search": (
        "Given a Chinese web search query, retrieve relevant Chinese passages that answer the query"
    ),
}

# The 26 added tokens of the Qwen3 tokenizer (added_tokens_decoder of its tokenizer_config.json).
ADDED_TOKENS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)

# Sentences have spaces, or letters of a script that needs none.
_NAME_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]+")
_MAX_EDITS: Final = 2
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# re.IGNORECASE folds the Kelvin sign to k and the long s to s, as a lower-casing tokenizer does.
_CONTROL_TOKEN_START: Final = re.compile(
    "<(?=" + "|".join(re.escape(token[1:]) for token in ADDED_TOKENS) + ")", re.IGNORECASE
)


# A cache of scores must not outlive what its prompts were: count up with each change of the
# template, or of what `neutralise` does.
TEMPLATE_VERSION: Final = 1
NEUTRALISATION_VERSION: Final = 1


def check_text(name: str, value: Any) -> str:
    """`value` if it is a str.

    Raises:
        InvalidInputError: it is something else (bytes, None, a list, a framework's document).
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{name} must be a str, not {type(value).__name__}.")
    return value


def neutralise(text: str) -> str:
    """`text` with no live control token in it: same letters, readable, recoverable.

    Each lone surrogate becomes U+FFFD; then one space is inserted after the `<` of every
    occurrence, in any case, of one of Qwen3's 26 added tokens. Clean text comes back unchanged,
    and a second pass changes nothing.
    """
    text = replace_surrogates(text)
    return _CONTROL_TOKEN_START.sub("< ", text) if "<" in text else text


def replace_surrogates(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate, which no tokenizer and no server accepts."""
    if text.isascii():
        return text
    try:
        # Ten times as fast as a search for them, where there are none.
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def utf8_length(text: str) -> int:
    """Bytes of `text`, in no time if it is ASCII; a lone surrogate has three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def original_offset(text: str, offset: int) -> int:
    """The offset in `text` of code point `offset` of `neutralise(text)`."""
    return original_offsets(text, [offset])[0]


def original_offsets(text: str, offsets: Sequence[int]) -> list[int]:
    """The same for many offsets, reading `text` once."""
    matches = _CONTROL_TOKEN_START.finditer(replace_surrogates(text))
    # Each space follows its `<`, shifted by the spaces inserted before it.
    spaces = [match.end() + before for before, match in enumerate(matches)]
    return [offset - bisect_left(spaces, offset) for offset in offsets]


def query_stem(instruction: str) -> str:
    """What the first half of the prompt begins with whatever the query is."""
    return f"{PREFIX}<Instruct>: {instruction}\n<Query>:"


def query_part(instruction: str, query: str) -> str:
    """The first half of the prompt, from texts that are already neutralised."""
    return f"{query_stem(instruction)} {query}\n"


def document_part(document: str) -> str:
    """The second half of the prompt, from a text that is already neutralised."""
    return f"<Document>: {document}{SUFFIX}"


def prompt(query: str, document: str, instruction: str = DEFAULT_INSTRUCTION) -> str:
    """The whole prompt of one pair, control tokens in the texts neutralised.

    Raises:
        InvalidInputError: one of the three is no str.
    """
    first = query_part(
        neutralise(check_text("instruction", instruction)), neutralise(check_text("query", query))
    )
    return first + document_part(neutralise(check_text("document", document)))


def instruction_for(task_or_text: str) -> str:
    """The preset of that name in INSTRUCTIONS, or the text itself if it names none.

    Raises:
        InvalidInputError: it is no str, or a preset's name misspelt: in another case, with `-` for
            `_`, or up to two edits (Levenshtein) away.
    """
    text = check_text("instruction", task_or_text)
    if text in INSTRUCTIONS or not is_name(text):
        return INSTRUCTIONS.get(text, text)
    name = text.strip().lower().replace("-", "_")
    similar = [preset for preset in INSTRUCTIONS if _are_similar(name, preset)]
    if similar:
        names = " or ".join(map(repr, similar))
        raise InvalidInputError(
            f"instruction={text!r} is no preset's name. Did you mean {names}? A task of your own "
            "is written as a sentence."
        )
    return text


def is_name(text: str) -> bool:
    """Whether an instruction looks like a name and not like a sentence."""
    return _NAME_PATTERN.fullmatch(text.strip()) is not None


def _are_similar(text: str, preset: str) -> bool:
    """Whether at most two insertions, deletions or replacements of a character separate them."""
    if abs(len(text) - len(preset)) > _MAX_EDITS:
        return False
    row = list(range(len(preset) + 1))
    for at, character in enumerate(text, 1):
        diagonal, row[0] = row[0], at
        for column, other in enumerate(preset, 1):
            edits = min(row[column] + 1, row[column - 1] + 1, diagonal + (character != other))
            diagonal, row[column] = row[column], edits
    return row[-1] <= _MAX_EDITS
