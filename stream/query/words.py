"""What a word is: the one place where a track's text and a tweet's text are made comparable.

The published rules of `track` (X v1.1 reference §6) know words between spaces and punctuation.
Scripts written without spaces between words have no such borders, so their characters are
"dense": a term that holds one is looked for as a substring, and for every other term they are
borders. Emoji are dense too.
"""

import re
import unicodedata
from itertools import groupby


def _marks() -> str:
    """Accents and vowel signs, as the inside of a character class."""
    codes = [code for code in range(0x10000) if unicodedata.category(chr(code))[0] == "M"]
    runs = [list(run) for _, run in groupby(enumerate(codes), lambda pair: pair[1] - pair[0])]
    return "".join(f"\\u{run[0][1]:04x}-\\u{run[-1][1]:04x}" for run in runs)


# \w of Python knows letters, numbers and _, but no marks. Those outside of the basic plane are
# left out: they would make every search three times as slow.
WORD_CHARACTERS = r"\w" + _marks()
DENSE_CHARACTERS = (
    "\u0e01-\u0e3a\u0e40-\u0eff"  # Thai, Lao
    "\u0f00-\u109f"  # Tibetan, Myanmar
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7fb"  # Hangul: its particles stick to words
    "\u1780-\u17d3\u17d7-\u17dd\u1950-\u19df\u1a20-\u1aad\u1b00-\u1b4b"  # Khmer, Tai, Balinese
    "\u2e80-\u2fd5\u3005-\u3007\u3021-\u302f\u3031-\u3035\u3038-\u303c"  # Han
    "\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u3130\u3190-\u4dbf\u4e00-\ua4cf"  # Kana, Han
    "\ua980-\ua9df\ua9e0-\ua9fe\uaa60-\uaadf"  # Javanese, Myanmar, Tai Viet
    "\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff"  # rare Han
    "\u2190-\u21ff\u2300-\u245f\u2500-\u2775\u2794-\u27bf\u2b00-\u2bff"  # symbols
    "\U0001f000-\U0001ffff"  # emoji
)
WORD = re.compile(f"[{WORD_CHARACTERS}]+")
DENSE = re.compile(f"[{DENSE_CHARACTERS}]+")

# Every dense character is among these, and the search for them is three times as fast.
_HIGH = re.compile("[^\x00-\u0e00]+")
_CORE = re.compile(f"[{WORD_CHARACTERS}#@$](?:.*[{WORD_CHARACTERS}])?", re.DOTALL)
_ADDRESS_START = re.compile(r"\A(?:https?://)?(?:www\.)?")
_SAME = (("‘", "'"), ("’", "'"), ("ʼ", "'"), ("＇", "'"), ("\ufe0f", ""))


def dense_runs(text: str) -> list[str]:
    """The longest runs of dense characters."""
    return [run for part in _HIGH.findall(text) for run in DENSE.findall(part)]


def without_dense(text: str) -> str:
    """The text with a space for each run of dense characters."""
    return _HIGH.sub(lambda part: DENSE.sub(" ", part[0]), text)


def composed(text: str) -> str:
    """Accents joined with their letters, so that lower case alone makes texts comparable."""
    if text.isascii():
        return text
    # A dotted capital I would leave a loose dot behind when it is made small.
    return unicodedata.normalize("NFC", text).replace("İ", "i")


def canonical(text: str) -> str:
    """Lower case; every apostrophe the straight one; emoji without their presentation sign.

    Accents stay: on the networks touché and touche are different words.
    """
    return text.lower() if text.isascii() else lowered(composed(text))


def lowered(text: str) -> str:
    """The canonical form of a composed text."""
    text = text.lower()
    for sign, same in _SAME:
        if sign in text:
            text = text.replace(sign, same)
    return text


def words(text: str) -> list[str]:
    """The runs of word characters of a canonical text, in order, without dense characters."""
    return WORD.findall(text if text.isascii() else without_dense(text))


def pieces(text: str) -> set[str]:
    """What stands between spaces in a canonical text, less the punctuation around it.

    A leading #, @ or $ stays, and addresses lose their scheme and one leading `www.`.
    """
    found: set[str] = set()
    for chunk in (text if text.isascii() else without_dense(text)).split():
        core = _CORE.search(chunk)
        if core and WORD.search(core[0]):
            found.add(bare_address(core[0]))
    return found


def bare_address(piece: str) -> str:
    """Without scheme and one leading `www.`: an address is domain and path."""
    return _ADDRESS_START.sub("", piece, count=1) if "." in piece or "://" in piece else piece


def is_dense(text: str) -> bool:
    """Whether a term is looked for as a substring."""
    return not text.isascii() and DENSE.search(text) is not None


def occurs(term: str, text: str) -> bool:
    """Whether a dense term stands in a canonical text.

    Where the term begins or ends with a character that is not dense, a word must begin or end
    there in the text: `3回` is not in `13回`.
    """
    at = text.find(term)
    while at >= 0:
        end = at + len(term)
        if not (
            (at and _joined(text[at - 1], text[at]))
            or (end < len(text) and _joined(text[end - 1], text[end]))
        ):
            return True
        at = text.find(term, at + 1)
    return False


def _joined(left: str, right: str) -> bool:
    """Whether two neighbours belong to one word of a script with spaces."""
    return _in_word(left) and _in_word(right)


def _in_word(character: str) -> bool:
    if character < "\u0300":  # before the first mark and the first dense character
        return character.isalnum() or character == "_"
    return WORD.match(character) is not None and DENSE.match(character) is None
