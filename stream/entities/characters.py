"""Character classes from the Unicode database, shared by several modules."""

import functools
import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby

# Beyond letters, marks and digits; see the Unicode charts: joiners,
# Hebrew and Japanese punctuation that belongs to a word, the Tibetan tsheg, the Catalan dot.
_SPECIAL = (
    "_\u200c\u200d\ua67e\u05be\u05f3\u05f4\uff5e\u301c\u309b\u309c\u30a0\u30fb\u3003\u0f0b\u0f0c"
    "\u00b7"
)
# Latin letters with accents, as the inside of a character class.
LATIN_ACCENTS = (
    "\xc0-\xd6\xd8-\xf6\xf8-\u024f\u0253\u0254\u0256\u0257\u0259\u025b\u0263\u0268\u026f\u0272"
    "\u0289\u028b\u02bb\u0300-\u036f\u1e00-\u1eff"
)
# Trade marks, brackets and box drawings carry no meaning.
_SYMBOLS = [code for code in range(0x2300) if chr(code) not in "©®™℗℠<>|~=¬¦"]
_WIDE_SYMBOLS = range(0xFB00, 0x10000)
_PLANES = 0x20000  # beyond are only Han and variation selectors
_HAN = "\U00020000-\U000323af"
_SELECTORS = "\U000e0100-\U000e01ef"


def ranges(codes: Iterable[int]) -> str:
    """These characters as the inside of a character class."""
    runs = [list(run) for _, run in groupby(enumerate(codes), lambda pair: pair[1] - pair[0])]
    return "".join(f"\\U{run[0][1]:08x}-\\U{run[-1][1]:08x}" for run in runs)


def marks(end: int) -> str:
    """Accents and vowel signs below this code, as the inside of a character class."""
    return ranges(code for code in range(end) if unicodedata.category(chr(code))[0] == "M")


@functools.cache
def hashtag_characters() -> str:
    """What a hashtag may contain, as the inside of a character class: letters, marks and digits of
    every script, `_` and a few signs that belong to words."""
    kinds = map(unicodedata.category, map(chr, range(_PLANES)))
    known = ranges(code for code, kind in enumerate(kinds) if kind[0] in "LM" or kind == "Nd")
    return known + _HAN + _SELECTORS + re.escape(_SPECIAL)


def has_letter(text: str) -> bool:
    """Whether a letter or mark is among these characters."""
    return any(unicodedata.category(character)[0] in "LM" for character in text)


def signs() -> str:
    """Currency, mathematical and other symbols below the emoji, and punctuation with a meaning.

    As the inside of a character class.
    """
    kinds = ((code, unicodedata.category(chr(code))) for code in (*_SYMBOLS, *_WIDE_SYMBOLS))
    return (
        ranges(code for code, kind in kinds if kind[0] == "S" and kind != "Sk")
        + "%‰‱٪؉؊&*#♯§％＆＊＃"
    )
