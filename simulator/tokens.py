"""Words of a text, as both X matchers cut them."""

import re
import sys
import unicodedata
from functools import cache


@cache
def _marks() -> str:
    # Vowel signs and accents belong to their word, but are not in \w.
    return "".join(
        chr(code)
        for code in range(0x300, min(0x1_1000, sys.maxunicode))
        if unicodedata.category(chr(code)).startswith("M")
    )


WORD = rf"[\w{_marks()}]"
NO_WORD = rf"[^\w{_marks()}]"
EMOJI = "[\u2190-\u21ff\u2300-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]"

_RUNS = re.compile(f"{WORD}+")
_TOKENS = re.compile(f"{WORD}+|{EMOJI}")


def runs(text: str) -> list[str]:
    """Every maximal run of letters, numbers, marks and `_` (X v1.1 reference §6.3), as written."""
    return _RUNS.findall(text)


def tokens(text: str) -> list[str]:
    """Runs, and each emoji by itself (X v2 reference §4, keyword and emoji), as written."""
    return _TOKENS.findall(text)
