"""Globs and regular expressions for names: what they fit, and none that runs away."""

from __future__ import annotations

import re
import signal
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weibnb.io.patterns import LONGEST_NAME, compiled_pattern, compiled_regex

if TYPE_CHECKING:
    from types import FrameType

CATASTROPHIC = [
    "(a+)+b", "(a|aa)*b", "(a*)*", "((a*))*b", "(?:a?){30}a{30}", "(a{2,9}){2,}b", "a?" * 40 + "b",
    "(a|a)" * 40 + "b", ".*.*.*.*.*b", "(?x)(a*) *b", "(?:x(?:a+)y)*b", "([ab]+|c)+d", "(?=a*)*b",
]  # fmt: skip
FINE = [
    r".*layers\.(\d+)\.(q|k|v|o)_proj\.weight", r"model\..*\.(?P<layer>\d+)\..*", "(?:ab)*b",
    r"[(*+]*x", r"\(a*\)*", "a{3}", "x{,5}", r"(?P<a>\d+)\.(?P=a)", "[]*+]*", "a*?b", "a++b",
]  # fmt: skip


@pytest.mark.parametrize("text", CATASTROPHIC)
def test_what_could_take_for_ever_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"take for ever|flags"):
        compiled_regex(text)


@pytest.mark.parametrize("text", FINE)
def test_what_is_bounded_is_taken(text: str) -> None:
    assert compiled_regex(text).pattern == text


@pytest.mark.parametrize("text", ["(", "[a", "a{1,99999999999}", "*a", r"\1", "(?P<a>x)(?P<a>y)"])
def test_what_is_no_expression_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        compiled_pattern(f"re:{text}")


@pytest.mark.parametrize("length", [0, 1, 1000, 1001])
def test_lengths_of_patterns(length: int) -> None:
    if 0 < length <= 1000:
        assert compiled_pattern("a" * length).fullmatch("a" * length)
    else:
        with pytest.raises(ValueError, match="1 to 1,000 characters"):
            compiled_pattern("a" * length)
    with pytest.raises(ValueError, match="at most 1,000"):
        compiled_regex("a" * 1001)


@given(st.text("ab.*?[]!-", min_size=1, max_size=12), st.text("ab.[-", max_size=12))
def test_a_glob_is_that_of_the_standard_library(glob: str, name: str) -> None:
    assert bool(compiled_pattern(glob).fullmatch(name)) == fnmatchcase(name, glob)


class TooSlow(BaseException):
    """The alarm rang."""


def _ring(signum: int, frame: FrameType | None) -> None:
    raise TooSlow


@given(
    st.lists(
        st.sampled_from(
            ["a", "b", ".", "*", "+", "?", "|", "(", ")", "{2}", "{2,}", "\\d", "[ab]"]
        ),
        max_size=14,
    )
)
def test_whatever_is_taken_ends(parts: list[str]) -> None:
    """Names of the longest length that nearly fit are the worst."""
    whole = "".join(parts)
    try:
        re.compile(whole)  # so that the group holds all of it
        pattern = compiled_regex(f"(?:{whole})!")
    except (ValueError, re.error):
        return
    before = signal.signal(signal.SIGALRM, _ring)
    signal.alarm(60)
    try:
        found = pattern.fullmatch("a" * LONGEST_NAME)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert found is None


def test_a_pattern_is_held_against_the_whole_name() -> None:
    assert not compiled_pattern("net.0").fullmatch("net.0.weight")
    assert isinstance(compiled_pattern("net.*"), re.Pattern)
    assert compiled_pattern(r"re:net\.\d").fullmatch("net.0")
