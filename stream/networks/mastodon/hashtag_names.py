"""The name of a hashtag's channel: which spellings a Mastodon server takes for the same tag. Pure.

NFKC, lower case, Latin accents folded; letters, digits, `_` and `·` stay: #Café and #cafe share one
channel. The matcher decides afterwards which of them a track means.
"""

import unicodedata

_FOLDED = range(0x00C0, 0x0180)  # Latin-1 and Latin Extended-A
# Letters that no accent makes of another one. ß, æ, œ and þ stay as they are.
_LIKE = str.maketrans("đðħıĸłŀŉŋøŧ", "ddhikllnnot")
_SEPARATORS = "_·・\u200c"


def channel_name(tag: str) -> str:
    """The name that a server gives to the channel of a tag; empty when nothing of it is left."""
    text = unicodedata.normalize("NFKC", tag).lower()
    if text.isascii():
        return "".join(c for c in text if c.isalnum() or c == "_")
    return "".join(_folded(c) for c in text if _is_kept(c))


def _is_kept(character: str) -> bool:
    return (
        character.isalnum()
        or character in _SEPARATORS
        or unicodedata.category(character).startswith("M")
    )


def _folded(character: str) -> str:
    if ord(character) not in _FOLDED:
        return character
    base = unicodedata.normalize("NFD", character)[0]
    return base if base.isascii() else character.translate(_LIKE)
