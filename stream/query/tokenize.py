"""What a word is: the one place where a track's text and a tweet's text are made comparable.

The published rules of `track` (X v1.1 reference §6) know words between spaces and punctuation.
Scripts written without spaces between words have no such borders, so their characters are
"dense": a term that holds one is looked for as a substring, and for every other term they are
borders. Emoji are dense too; one that consists of several characters is found only as a whole.
"""

import re
import unicodedata
from functools import lru_cache

from stream.entities.characters import marks, signs

# \w of Python knows letters, numbers and _, but no marks. Those outside of the basic plane are
# left out: they would make every search three times as slow.
WORD_CHARACTERS = r"\w" + marks(0x10000)
_EMOJI_CHARACTERS = (
    "\u2190-\u21ff\u2300-\u245f\u24c2\u2500-\u266e\u2670-\u2775\u2794-\u27bf\u2934\u2935\u2b00-\u2bff\u303d"
    "\U0001f000-\U0001ffff"
)
DENSE_CHARACTERS = _EMOJI_CHARACTERS + (
    "\u0e01-\u0e3a\u0e40-\u0eff"  # Thai, Lao
    "\u0f00-\u109f"  # Tibetan, Myanmar
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97f\uac00-\ud7fb"  # Hangul: its particles stick to words
    "\u1780-\u17d3\u17d7-\u17dd\u1950-\u19df\u1a20-\u1aad\u1b00-\u1b4b"  # Khmer, Tai, Balinese
    "\u2e80-\u2fd5\u3005-\u3007\u3021-\u302f\u3031-\u3035\u3038-\u303c"  # Han
    "\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u3130\u3190-\u4dbf\u4e00-\ua4cf"  # Kana, Han
    "\ua980-\ua9df\ua9e0-\ua9fe\uaa60-\uaadf"  # Javanese, Myanmar, Tai Viet
    "\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff"  # rare Han
    "\U000e0020-\U000e007f"  # the ends of some flags
)
_KEYCAP = "\u20e3"
_KEYCAP_BASES = "0123456789#*"
KEYCAP = f"[{_KEYCAP_BASES}]{_KEYCAP}"
WORD = re.compile(f"[{WORD_CHARACTERS}]+")
DENSE = re.compile(f"(?:[{DENSE_CHARACTERS}]|{KEYCAP})+")
# What networks ignore in a word although it has a meaning: %, €, +, & and so on.
SIGN_CHARACTERS = signs()
SIGN = re.compile(f"[{SIGN_CHARACTERS}](?!{_KEYCAP})")

# Every dense character is among these, and the search for them is three times as fast.
_HIGH = re.compile("[^\x00-\u0e00]+")
_DENSE_RUN = re.compile(f"[{DENSE_CHARACTERS}]+")
_EMOJI = re.compile(f"[{_EMOJI_CHARACTERS}]")
# Vowel signs and tone marks from Thai to Javanese, and those of kana.
_DENSE_MARK = re.compile(f"(?=[{DENSE_CHARACTERS}])[{marks(0x10000)}]")
TONE = re.compile("[\U0001f3fb-\U0001f3ff]")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{1,2}")  # a pair, or the one left over
_TAG = re.compile("[\U000e0020-\U000e007f]")  # distinguishes the flag of Wales from a black one
_HALF_SPACE, _JOINER = "\u200c", "\u200d"
_CORE = re.compile(f"[{WORD_CHARACTERS}#@$](?:.*[{WORD_CHARACTERS}])?", re.DOTALL)
ADDRESS = re.compile(r"[^\s]+\.[^\s]{2,}")
_ADDRESS_START = re.compile(r"\A(?:https?://)?(?:www\.)?")
_SAME = (("‘", "'"), ("’", "'"), ("ʼ", "'"), ("＇", "'"))

# What `comparable` changes. Capital Σ is there because lower case makes ς of it at a word's end.
_EQUAL = {
    "Σ": "σ", "ς": "σ", "ß": "ss", "ẞ": "ss", "ı": "i", "İ": "i",
    "ي": "ی", "ك": "ک", "״": '"', "׳": "'",
}  # fmt: skip
_LEFT_OUT = (
    "\u0640\u064b-\u0652\u0670"  # Arabic tatweel and vowels
    "\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # Hebrew vowels and accents
)
_OTHER_WIDTH = "\uff01-\uff5e\uff61-\uffdc"  # full and half width
_MAY_VARY = re.compile(f"[{''.join(_EQUAL)}{_LEFT_OUT}{_OTHER_WIDTH}{_HALF_SPACE}{_JOINER}]")
_ARABIC = re.compile("[\u0600-\u077f\u08a0-\u08ff]")
_INDIC = re.compile("[\u0900-\u0dff]")


def dense_runs(text: str) -> list[str]:
    """The longest runs of dense characters."""
    if _KEYCAP in text:
        return DENSE.findall(text)
    return [run for part in _HIGH.findall(text) for run in _DENSE_RUN.findall(part)]


def without_dense(text: str) -> str:
    """The text with a space for each run of dense characters."""
    if _KEYCAP in text:
        return DENSE.sub(" ", text)
    return _HIGH.sub(lambda part: _DENSE_RUN.sub(" ", part[0]), text)


def without_selectors(text: str) -> str:
    """Emoji without variation selectors, which choose colour or text style."""
    if "\ufe0f" in text:
        text = text.replace("\ufe0f", "")
    return text.replace("\ufe0e", "") if "\ufe0e" in text else text


def without_tones(text: str) -> str:
    """Emoji without the colour of a skin."""
    return TONE.sub("", text)


def composed(text: str) -> str:
    """Accents joined with their letters, so that lower case alone makes texts comparable."""
    if text.isascii():
        return text
    # Lower-casing a dotted capital I would leave a combining dot.
    return unicodedata.normalize("NFC", text).replace("İ", "i")


def canonical(text: str) -> str:
    """Lower case; every apostrophe the straight one; emoji without their variation selectors.

    Accents stay: on the networks touché and touche are different words.
    """
    return text.lower() if text.isascii() else lowered(composed(text))


def lowered(text: str) -> str:
    """The canonical form of a composed text."""
    text = text.lower()
    for sign, same in _SAME:
        if sign in text:
            text = text.replace(sign, same)
    return without_selectors(text)


def comparable(text: str) -> str:
    """A composed text in the form in which tweets and terms are compared.

    What one letter has several characters for becomes one: capitals that differ by language, forms
    at a word's end, widths, letters of two keyboards. Vowel signs that are mostly left out go, and
    so do signs that only join letters; the Persian half-space is a space. Networks are asked for
    the canonical term, which stays as it was written.
    """
    if _MAY_VARY.search(text) is None:
        return text
    return unicodedata.normalize("NFC", _MAY_VARY.sub(_equal, text))


def _equal(found: re.Match[str]) -> str:
    character = found[0]
    if (same := _EQUAL.get(character)) is not None:
        return same
    if character >= _OTHER_WIDTH[0]:
        return unicodedata.normalize("NFKC", character)
    if character < _HALF_SPACE:
        return ""  # one of those left out
    before = found.string[max(found.start() - 1, 0) : found.start()]
    if _ARABIC.match(before):
        return " " if character == _HALF_SPACE else ""
    return "" if _INDIC.match(before) else character


def compared(text: str) -> str:
    """The form of a text or a term in which they are compared."""
    return text.lower() if text.isascii() else lowered(comparable(composed(text)))


def words(text: str) -> list[str]:
    """The runs of word characters of a canonical text, in order, without dense characters."""
    return WORD.findall(text if text.isascii() else without_dense(text))


def pieces(text: str) -> set[str]:
    """The pieces between spaces in a canonical text, without the punctuation around them.

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


def is_dense(term: str) -> bool:
    """Whether a term holds characters of a script without word spaces, or emoji."""
    return not term.isascii() and DENSE.search(term) is not None


def is_verbatim(term: str) -> bool:
    """Whether a term is searched literally, not by its words."""
    return is_dense(term) or has_signs(term)


def has_signs(term: str) -> bool:
    """Whether a term contains signs that networks ignore; they keep those of an address."""
    return SIGN.search(term) is not None and ADDRESS.fullmatch(term) is None


def occurs(term: str, text: str) -> bool:
    """Whether a literal term is in a canonical text.

    Where the term begins or ends with a letter of a script with spaces, a word must begin or end
    there in the text: `3回` is not in `13回`. An emoji without a skin tone is found in all of them.
    """
    if _stands(term, text):
        return True
    if text.isascii() or not TONE.search(text) or TONE.search(term):
        return False
    return _stands(term, without_tones(text))


def _stands(term: str, text: str) -> bool:
    cut = _cuts_word if text.isascii() else cuts
    at = text.find(term)
    while at >= 0:
        if not (cut(text, at) or cut(text, at + len(term))):
            return True
        at = text.find(term, at + 1)
    return False


def _cuts_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and _in_word(text[at - 1]) and _in_word(text[at])


def cuts(text: str, at: int) -> bool:
    """Whether a cut here goes through a word of a script with spaces, or through an emoji."""
    if not 0 < at < len(text):
        return False
    left, right = text[at - 1], text[at]
    if "\u3041" <= left <= "\u9fff" or "\u3041" <= right <= "\u9fff":
        return False  # anything next to Kana and Han is a separate word; the most frequent case
    if right >= _JOINER and _cuts_emoji(text, at):
        return True
    if right >= "\u0e31" and _DENSE_MARK.match(right):
        return True  # ที is another syllable than ที่
    # The digit of a keycap belongs to no word.
    return (
        _in_word(left)
        and _in_word(right)
        and not (_is_keycap(text, at) or _is_keycap(text, at - 2))
    )


def _cuts_emoji(text: str, at: int) -> bool:
    left, right = text[at - 1], text[at]
    if right == _KEYCAP:
        return left in _KEYCAP_BASES
    if right == _JOINER:
        return bool(_EMOJI.match(left) and _EMOJI.match(text, at + 1))
    if left == _JOINER:
        return at > 1 and bool(_EMOJI.match(text, at - 2) and _EMOJI.match(right))
    if _FLAG.match(left) and _FLAG.match(right):
        return at not in _flag_begins(text)
    return bool(_EMOJI.match(left) and TONE.match(right)) or _TAG.match(right) is not None


def _is_keycap(text: str, at: int) -> bool:
    return at >= 0 and text.startswith(_KEYCAP, at + 1) and text[at] in _KEYCAP_BASES


@lru_cache(maxsize=8)  # texts; asked once per flag in a text
def _flag_begins(text: str) -> frozenset[int]:
    """Where flags begin: their letters belong together two by two, from the start of a run."""
    return frozenset(found.start() for found in _FLAG.finditer(text))


def _in_word(character: str) -> bool:
    """Whether it belongs to a word of a script with spaces."""
    if character < "\u0300":  # before the first mark and the first dense character
        return character.isalnum() or character == "_"
    return WORD.match(character) is not None and _DENSE_RUN.match(character) is None
