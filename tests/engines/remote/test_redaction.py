"""A key is found in a server's text however it was spelt, soon, and nothing else is."""

from __future__ import annotations

import base64
import html
import json
import string
import time
from collections.abc import Callable, Sequence
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_ascend_retrievers.engines.remote.config import RemoteConfig, headers_of, masked
from qwen3_ascend_retrievers.engines.remote.redaction import Secrets, redact, redacted_excerpt

KEY = "sk-topsecret-0123456789"
SIGNS = string.ascii_letters + string.digits + string.punctuation
# What protects a sign at the end of a key may be left over: it is not of the key.
KEYS = st.text(SIGNS, min_size=6, max_size=60).map(lambda text: f"k{text}y")
NEIGHBOURS = st.text(string.ascii_letters + string.punctuation, max_size=5)
Spelling = Callable[[str], str]


def each(template: str) -> Spelling:
    return lambda text: "".join(template.format(ord(letter)) for letter in text)


SPELLINGS: dict[str, Spelling] = {
    "as it is": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "HTML": html.escape,
    "HTML decimal": each("&#{};"),
    "HTML hexadecimal": each("&#x{:04X};"),
    "percent": lambda text: quote(text, safe=""),
    "percent each": each("%{:02x}"),
    "form": quote_plus,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON each": each("\\u{:04x}"),
    "Go's JSON": lambda text: json.dumps(text)[1:-1].replace("&", r"\u0026"),
    "repr": lambda text: repr(text)[1:-1],
    "bytes": each("\\x{:02x}"),
    "octal": each("\\{:03o}"),
    "Rust": each("\\u{{{:x}}}"),
}
CODES: dict[str, Callable[[bytes], str]] = {
    "base64": lambda raw: base64.b64encode(raw).decode(),
    "base64 for URLs": lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
    "base64 in lines": lambda raw: base64.encodebytes(raw).decode(),
    "hex": bytes.hex,
    "hex in upper case": lambda raw: raw.hex(":").upper(),
    "hex dump": lambda raw: ", ".join(f"0x{byte:02x}" for byte in raw),
}


@given(key=KEYS, names=st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=3))
def test_every_spelling_and_spellings_of_spellings(key: str, names: Sequence[str]) -> None:
    spelt = key
    for name in names:
        spelt = SPELLINGS[name](spelt)
    assert redact(f"bad key <{spelt}> given", (key,)) == "bad key <[key]> given"


@given(
    key=KEYS,
    before=NEIGHBOURS,
    after=NEIGHBOURS,
    code=st.sampled_from(sorted(CODES)),
    name=st.sampled_from(["as it is", "HTML", "percent", "JSON"]),
)
def test_a_key_within_something_encoded(
    key: str, before: str, after: str, code: str, name: str
) -> None:
    whole = f"{before}{key}{after}"
    redacted = redact(f"bad key <{SPELLINGS[name](CODES[code](whole.encode()))}> given", (key,))
    assert "[key]" in redacted
    remainder = redacted.removeprefix("bad key <").removesuffix("> given").replace("[key]", "")
    # Of the key itself at most the letters that it shares with its neighbours.
    assert len(remainder) <= 12 * (len(before) + len(after)) + 8


def test_header_values_and_what_they_are_made_of() -> None:
    login = base64.b64encode(b"user:p4ss-w0rd").decode()
    config = _config({"Authorization": f"Basic {login}", "X-Tenant": "tenant one secret"})
    secrets = config.secrets()
    for secret in (f"Basic {login}", login, "user:p4ss-w0rd", "p4ss-w0rd", "TENANT+ONE+SECRET"):
        assert redact(f"bad <{secret}>", secrets) == "bad <[key]>"
    assert redact("for <user>", secrets) == "for <user>"
    cookies = _config({"Cookie": 'lang=en; session="s3ss10n-abc"'}).secrets()
    assert redact("bad <s3ss10n-abc> in en", cookies) == "bad <[key]> in en"
    assert redact("Basic ***", _config({"Authorization": "Basic ***"}).secrets()) == "[key]"


def _config(headers: dict[str, str]) -> RemoteConfig:
    from qwen3_ascend_retrievers import RemoteEngine

    config: RemoteConfig = vars(RemoteEngine("http://h", headers=headers))["_config"]
    assert config.headers == headers_of(masked(headers))
    return config


ORDINARY = (
    '{"error": "line one\\nline \\"two\\" \\u0041 100%25 &amp; <b>caf\u00e9</b> %zz &nothing; \\q"}'
)


def test_an_error_without_a_key_stays_as_it_is() -> None:
    assert redact(ORDINARY, (KEY, "\\\\\\\\", "a b c", "x" * 500)) == ORDINARY
    assert redact(ORDINARY, ()) == ORDINARY


def test_short_values_blot_out_no_words() -> None:
    # Three letters never, up to five only as they are.
    assert redact("one two PROD prod cHJvZA== 70726f64", ("two", "prod")) == (
        "one two PROD [key] cHJvZA== 70726f64"
    )


def test_several_keys_that_overlap() -> None:
    assert redact("abcdefghijkl", ("abcdefgh", "efghijkl")) == "[key]"
    assert redact("abcdefgh abcdefgh-more", ("abcdefgh", "abcdefgh-more")) == "[key] [key]"


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
def test_no_part_of_a_key_stands_where_a_text_is_cut(spell: Spelling) -> None:
    secrets = Secrets([KEY])
    spelt = spell(KEY)
    for blank in (0, 150, 190, 199, 200, 5_000):
        for count in (1, 400):
            excerpt = redacted_excerpt("." * blank + spelt * count, secrets, 200)
            assert len(excerpt) <= 200
            assert set(excerpt.replace("[key]", "")) <= set(".\\…[key")


@pytest.mark.parametrize(
    "piece", ["\\", "&", "%25", "a", "&amp;", "A", "%5c%5c", "sk-topsecret-012345678", "\\u005c"]
)
def test_a_text_made_to_be_slow_is_not(piece: str) -> None:
    secrets = Secrets([KEY, f"Bearer {KEY}", "a" * 40 + "b"])
    begun = time.process_time()
    redacted_excerpt(piece * 300_000, secrets)
    redact(piece * (40_000 // len(piece)), secrets)
    # 0.1 s here.
    assert time.process_time() - begun < 5


def test_secrets_show_nothing_of_themselves() -> None:
    secrets = Secrets([KEY])
    redact("x", secrets)
    assert KEY not in repr(secrets)
    assert not hasattr(secrets, "__iter__")
    assert not hasattr(secrets, "__dict__")
