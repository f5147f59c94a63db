"""Token counts without a tokenizer, and the cache in front of one."""

from __future__ import annotations

import pydoc_data.topics
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as FileTokenizer

import qwen3_ascend_retrievers
from qwen3_ascend_retrievers.core.prompt import neutralise, utf8_length
from qwen3_ascend_retrievers.core.tokens import (
    CachedTokenizer,
    Encoding,
    Tokens,
    estimate,
    may_exceed,
    token_ceiling,
)
from support.qwen_tokenizer import count, encode
from support.strategies import SNIPPETS, texts

PACKAGE = Path(qwen3_ascend_retrievers.__file__).parent
TINY = FileTokenizer.from_file(str(PACKAGE / "models" / "tiny_model" / "tokenizer.json"))

ORDINARY = {
    "chinese": "中国的首都是北京。北京是一座有三千多年历史的古都，拥有故宫、长城等众多名胜古迹。",
    "taiwan": "臺灣的首都是臺北市，龍蝦與鬱金香在這裡都很受歡迎，夜市裡有許多小吃。",
    "japanese": "日本の首都は東京です。カタカナとひらがなと漢字が混ざった文章を書きます。",
    "korean": "대한민국의 수도는 서울이며, 인구는 약 천만 명이다. 한강이 도시를 가로질러 흐른다.",
    "thai": "กรุงเทพมหานครเป็นเมืองหลวงและนครที่มีประชากรมากที่สุดของประเทศไทย",
    "arabic": "القاهرة هي عاصمة جمهورية مصر العربية وأكبر مدنها، وتقع على ضفاف نهر النيل.",
    "hebrew": "ירושלים היא עיר הבירה של מדינת ישראל והעיר הגדולה ביותר בה.",
    "hindi": "नई दिल्ली भारत की राजधानी है। यह यमुना नदी के तट पर स्थित है।",
    "tamil": "சென்னை இந்தியாவின் தமிழ்நாடு மாநிலத்தின் தலைநகரம் ஆகும்.",
    "burmese": "ရန်ကုန်မြို့သည် မြန်မာနိုင်ငံ၏ အကြီးဆုံးမြို့ဖြစ်သည်။",
    "georgian": "თბილისი საქართველოს დედაქალაქი და უდიდესი ქალაქია.",
    "amharic": "አዲስ አበባ የኢትዮጵያ ዋና ከተማ ናት።",
    "russian": "Москва — столица России, город федерального значения.",
    "greek": "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας και η μεγαλύτερη πόλη της χώρας.",
    "german": "Donaudampfschifffahrtsgesellschaft; Straßenverkehrszulassungsordnung, Übergröße.",
    "vietnamese": "Hà Nội là thủ đô của nước Cộng hòa xã hội chủ nghĩa Việt Nam.",
    "emoji": "Party 🎉🚀👩‍👩‍👧‍👦 in 🇫🇷 ❤️👍🏽🧑🏿‍🔬 ok ☀️✅",
    "symbols": "∀x∈ℝ: ∑∞ → ≤ ≥ ≠ ⟨a|b⟩ ½ ⅔ № ™ “quotes” — … •",
    "numbers": "On 2026-11-25 at 14:03:59, 1,234,567.89 EUR (+12.5 %) were paid; tel. 030 901820.",
    "urls": "See https://www.example.com/path/to/page?id=42&lang=en#section-3 or info@example.org.",
    "capitals": "NASA AND THE FBI WARN: DO NOT USE THE USB PORT ON THE LEFT SIDE OF IT.",
}


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_the_estimate_exceeds_the_tokens_of_ordinary_text(text: str) -> None:
    assert len(estimate([text])[0].ids) >= count(text)


def test_the_estimate_exceeds_the_tokens_of_prose_and_code() -> None:
    prose = list(pydoc_data.topics.topics.values())
    code = [path.read_text(encoding="utf-8") for path in (PACKAGE / "core").glob("*.py")]
    for text, estimated, real in zip(
        prose + code, estimate(prose + code), encode(prose + code), strict=True
    ):
        assert len(estimated.ids) >= len(real.ids), text[:100]


@given(st.sampled_from(list(ORDINARY.values())), st.integers(1, 70))
def test_the_estimate_grows_with_the_text(text: str, length: int) -> None:
    shorter, longer = estimate([text[: length - 1], text[:length]])
    assert len(shorter.ids) <= len(longer.ids)


@given(texts())
def test_the_estimates_offsets_cover_the_text(text: str) -> None:
    (estimated,) = estimate([text])
    assert len(estimated.offsets) == len(estimated.ids)
    spans = list(dict.fromkeys(estimated.offsets))
    assert "".join(text[start:end] for start, end in spans) == text


@given(texts() | st.text())
@example("".join(SNIPPETS))
@example("\u023a\u023e\u0130" * 9)
@example("\U0001d15e\u0344\u0958\ufb2c" * 9)
def test_no_tokenizer_exceeds_the_ceiling(text: str) -> None:
    clean = neutralise(text)
    assert count(clean) <= token_ceiling(clean)
    assert len(TINY.encode(clean, add_special_tokens=False).ids) <= token_ceiling(clean)
    assert token_ceiling(text) >= 0


class Spy:
    """A tokenizer that records its requests."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []

    def encode_batch(self, texts: Sequence[str]) -> Sequence[Encoding]:
        self.requests.append(list(texts))
        return encode(texts)


def test_the_cache_asks_for_each_text_once() -> None:
    spy = Spy()
    cached = CachedTokenizer(spy)
    first = cached.encode_batch(["one two", "", "one two", "🎉 drei"])
    again = cached.encode_batch(["🎉 drei", "new", "one two", ""])
    assert spy.requests == [["one two", "", "🎉 drei"], ["new"]]
    assert first[0] == first[2] == again[2]
    assert again[0] == first[3]
    assert first[1] == again[3] == Tokens(())
    for text, tokens in zip(["one two", "🎉 drei"], [again[2], again[0]], strict=True):
        (real,) = encode([text])
        assert tokens == Tokens(tuple(real.ids), tuple(real.offsets))


def test_the_cache_forgets_the_oldest_and_keeps_nothing_huge() -> None:
    spy = Spy()
    cached = CachedTokenizer(spy, tokens=8)
    cached.encode_batch(["one two three", "four five"])
    cached.encode_batch(["six seven eight", "many " * 20])
    spy.requests.clear()
    cached.encode_batch(["six seven eight"])
    assert spy.requests == []
    cached.encode_batch(["one two three", "many " * 20])
    assert spy.requests == [["one two three", "many " * 20]]


def test_tokens_without_offsets_stay_without() -> None:
    class Blind:
        def encode_batch(self, texts: Sequence[str]) -> Sequence[Encoding]:
            return [Tokens(tuple(encoding.ids)) for encoding in encode(texts)]

    cached = CachedTokenizer(Blind())
    assert [cached.encode_batch(["a b"])[0].offsets for _ in range(2)] == [(), ()]


def test_threads_share_a_cache() -> None:
    cached = CachedTokenizer(Spy(), tokens=50)
    expected = {
        text: Tokens(tuple(encoding.ids), tuple(encoding.offsets))
        for text, encoding in zip(SNIPPETS[:10], encode(SNIPPETS[:10]), strict=True)
    }
    wrong: list[str] = []

    def work() -> None:
        for _ in range(50):
            for text, tokens in zip(expected, cached.encode_batch(list(expected)), strict=True):
                if tokens != expected[text]:
                    wrong.append(text)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@given(st.text(), st.integers(0, 200))
def test_what_may_exceed_is_never_missed(text: str, tokens: int) -> None:
    if not may_exceed(text, tokens):
        assert token_ceiling(text) <= tokens


def test_no_character_grows_more_than_the_bound_allows() -> None:
    characters = (chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    assert max(token_ceiling(letter) / utf8_length(letter) for letter in characters) <= 3
