"""Text → JSON documents: one a line, many on a line, or one over many lines, in bounded memory.

A line that is a whole document, as nearly all are, is parsed once in C. Any other is followed token
by token to its end; the elements of an array are yielded one by one, so an array may be longer than
memory. A document that breaks the grammar ends with its line: a torn line costs only itself.
"""

import json
import re
from collections.abc import Generator, Iterator

import msgspec

LONG_LINE = 1 << 20  # bytes without a line break that are waited for before the scanner begins
DEEPEST = 200  # brackets within each other; a tweet has about 10


# NaN and Infinity are no JSON, but some tools write them: `Unfolder` makes them null.
_raw_decode = json.JSONDecoder().raw_decode
_whole = msgspec.json.Decoder(msgspec.Raw).decode
# Between documents: white space, commas, what is left of a torn one, byte order marks,
# and the NULs of a hole, which hold nothing.
_BETWEEN = re.compile(rb"(?:[,;\]} \t\r\n\x1e\0]|\xef\xbb\xbf)*+")
_SPACE = re.compile(rb"[ \t\r\n]*+")
# `window.YTD.tweets.part0 = [`, as the archives of accounts begin.
_ASSIGNMENT = re.compile(rb"(?:(?:var|let|const)[ \t]+)?[A-Za-z_$][\w.$]*[ \t]*=\s*(?=[\[{])")
_TOKEN = re.compile(
    rb"[ \t\r\n]*+"
    rb'(?P<token>"(?:[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+")?|[{}\[\],:]|[^ \t\r\n{}\[\],:"]++)'
)
_IN_STRING = re.compile(rb'(?:[^"\\\n]++|\\[^\n])*+')
_SCALAR = re.compile(rb"true|false|null|-?(?:\d[\d.eE+-]*|Infinity)|NaN")

_BEGIN = re.compile(
    rb"^(?:[,;\]} \t\r\x1e\0]|\xef\xbb\xbf)*+(?:%b|\")?[\[{]" % _ASSIGNMENT.pattern, re.MULTILINE
)

# What may follow: a value; a value or the end of the array; a key or the end of the object; a
# key; a colon; a comma or an end.
_VALUE, _FIRST, _KEY_OR_END, _KEY, _COLON, _AFTER, _WRONG = range(7)
_OPENING, _CLOSING = b"{[", {ord("}"): b"{", ord("]"): b"["}
_OBJECT, _ARRAY, _QUOTE = b'{["'
_PUNCTUATION = b'{}[],:"'
_BROKEN_STRING = b"\n"  # a token that no grammar accepts


class _Grammar:
    """What JSON allows after the tokens so far."""

    def __init__(self) -> None:
        self.open = bytearray()  # the brackets that are
        self.expects = _VALUE

    def take(self, token: bytes) -> bool:
        """Whether this token is allowed here."""
        sign = token[0]
        if sign in _OPENING:
            self.expects = self._begin(sign)
        elif sign in _CLOSING:
            self.expects = self._end(sign)
        elif sign == ord(","):
            inner = self.open[-1:] == b"{"
            self.expects = _WRONG if self.expects != _AFTER else _KEY if inner else _VALUE
        elif sign == ord(":"):
            self.expects = _VALUE if self.expects == _COLON else _WRONG
        elif sign == ord('"') and self.expects in (_KEY, _KEY_OR_END):
            self.expects = _COLON
        elif self.expects in (_VALUE, _FIRST) and (sign == ord('"') or _SCALAR.fullmatch(token)):
            self.expects = _AFTER
        else:
            self.expects = _WRONG
        return self.expects != _WRONG

    def _begin(self, sign: int) -> int:
        if self.expects not in (_VALUE, _FIRST) or len(self.open) == DEEPEST:
            return _WRONG
        self.open.append(sign)
        return _KEY_OR_END if sign == ord("{") else _FIRST

    def _end(self, sign: int) -> int:
        may = (_KEY_OR_END, _AFTER) if sign == ord("}") else (_FIRST, _AFTER)
        if self.expects not in may or self.open[-1:] != _CLOSING[sign]:
            return _WRONG
        self.open.pop()
        return _AFTER


class Splitter:
    """Takes chunks of bytes and yields documents; longer ones are cut to `longest` bytes."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._buffer = b""
        self._at = 0  # so much of the buffer is done with
        self._final = False  # nothing follows the buffer
        self._cut = False  # the beginning of an oversized document was yielded already
        self._torn: bytearray | None = None  # text that is not JSON, so far
        self._new_line = False  # of text that is not JSON
        # While a document is followed token by token:
        self._grammar: _Grammar | None = None
        self._level = 0  # brackets around the documents: 1 in an array
        self._begin = -1  # where the document begins in the buffer; -1: between two of them
        self._token = 0  # where the newest token begins
        self._next = 0  # and where it ends
        self._in_string = False
        self._text: str | None = None  # the buffer as text, for a parser

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The documents that are complete now."""
        self._buffer = b"".join((memoryview(self._buffer)[self._at :], data))
        self._begin = max(self._begin - self._at, 0) if self._begin >= 0 else -1
        self._next -= self._at
        self._at = 0
        self._text = None
        return self._split()

    def end(self) -> Iterator[bytes]:
        """The last documents; an incomplete one as it is."""
        self._final = True
        return self._split()

    def _split(self) -> Iterator[bytes]:
        going = True
        while going:
            if self._grammar is not None:
                going = yield from self._follow(self._grammar)
            elif self._torn is not None:
                going = yield from self._pass_torn(self._torn)
            else:
                going = yield from self._lines()

    # Each of these yields documents until something else begins (True) or the buffer ends (False).

    def _lines(self) -> Generator[bytes, None, bool]:
        buffer = self._buffer
        while True:
            self._at = at = _passed(_BETWEEN, buffer, self._at)
            if at == len(buffer):
                return False
            end = buffer.find(b"\n", at)
            if end < 0 and not self._final and len(buffer) - at < LONG_LINE:
                return False
            if buffer[at] == _OBJECT and (end >= 0 or self._final):
                line = buffer[at : end if end >= 0 else len(buffer)].rstrip()
                if _is_whole(line):
                    self._at = at + len(line)
                    yield line[: self._longest]
                    continue
            if buffer[at] in _OPENING:
                self._begin_document(at)
            elif found := _ASSIGNMENT.match(buffer, at):
                self._begin_document(found.end())
            else:
                self._begin_torn(at)
            return True

    def _begin_document(self, at: int) -> None:
        self._grammar = _Grammar()
        self._level = 1 if self._buffer[at] == _ARRAY else 0
        self._begin = -1 if self._level else at
        self._at = self._next = at
        self._in_string = False

    def _follow(self, grammar: _Grammar) -> Generator[bytes, None, bool]:
        while True:
            if end := self._end_of_element(grammar):
                yield self._buffer[self._at : end][: self._longest]
                grammar.expects, self._at, self._next = _AFTER, end, end
            token = self._next_token(grammar)
            if not token:
                return (yield from self._leave_inside())
            if not grammar.take(token):
                self._give_up()
                return True
            depth = len(grammar.open)
            if depth == self._level and self._begin >= 0 and grammar.expects == _AFTER:
                if not self._cut:
                    yield self._buffer[self._begin : self._next][: self._longest]
                self._begin, self._at, self._cut = -1, self._next, False
            if not depth:
                self._grammar, self._at = None, self._next
                return True

    def _leave_inside(self) -> Generator[bytes, None, bool]:
        """The buffer ends within a document, or between the elements of an array."""
        if self._final:
            self._token = len(self._buffer)
            self._give_up()
            return True
        inside = self._begin >= 0 and not self._cut
        if inside and len(self._buffer) - self._begin > self._longest:
            yield self._buffer[self._begin : self._begin + self._longest]
            self._cut, inside = True, False
        self._at = self._begin if inside else self._next
        return False

    def _end_of_element(self, grammar: _Grammar) -> int:
        """Find the end of a whole object that begins here; else 0. Much faster than tokens."""
        if self._begin >= 0 or grammar.expects not in (_VALUE, _FIRST):
            return 0
        begin = _passed(_SPACE, self._buffer, self._next)
        if self._buffer[begin : begin + 1] != b"{":
            return 0
        if self._text is None:
            self._text = self._buffer.decode("latin-1")  # so that places in it are the same
        try:
            _, end = _raw_decode(self._text, begin)
        except (ValueError, RecursionError):
            return 0
        self._at = begin
        return end

    def _next_token(self, grammar: _Grammar) -> bytes:
        """The next token, of a string perhaps only its last quote; empty at the buffer's end."""
        if self._in_string:
            return self._end_of_string()
        found = _TOKEN.match(self._buffer, self._next)
        if found is None:
            return b""
        token = found["token"]
        at, end = found.span("token")
        if end == len(self._buffer) and not self._final and token[0] not in _PUNCTUATION:
            return b""  # a number may go on
        self._token, self._next = at, end
        between = self._begin < 0 and len(grammar.open) == self._level
        if between and grammar.expects in (_VALUE, _FIRST) and token != b"]":
            self._begin = at
        if token == b'"':
            self._in_string = True
            return self._end_of_string()
        return token

    def _end_of_string(self) -> bytes:
        self._next = end = _passed(_IN_STRING, self._buffer, self._next)
        rest = self._buffer[end : end + 2]
        if rest in (b"", b"\\"):
            return b""
        self._in_string = False
        if rest[0] != _QUOTE:
            self._token = end
            return _BROKEN_STRING
        self._next = end + 1
        return b'"'

    def _give_up(self) -> None:
        """Handle a token, or an end of file, that is not allowed here."""
        self._grammar = None
        if self._begin < 0:
            self._at = self._token
        elif not self._cut:
            self._begin_torn(self._begin)
        elif (line := self._buffer.rfind(b"\n", self._at, self._token + 1)) >= 0:
            self._at, self._cut = line + 1, False
        else:
            self._begin_torn(self._token)

    def _begin_torn(self, at: int) -> None:
        self._at, self._torn, self._new_line = at, bytearray(), False

    def _pass_torn(self, torn: bytearray) -> Generator[bytes, None, bool]:
        """One line, and those that can only belong to it: the inside of what was indented."""
        while True:
            if self._new_line and (going := self._goes_on()) is not True:
                if going is None and not self._final:
                    return False
                if not self._cut and torn.strip():
                    yield bytes(torn.strip())
                self._torn, self._cut = None, False
                return True
            end = self._buffer.find(b"\n", self._at) + 1 or len(self._buffer)
            torn += self._buffer[self._at : min(end, self._at + self._longest - len(torn))]
            self._new_line = self._final or self._buffer[end - 1 : end] == b"\n"
            self._at = end
            if not self._new_line:
                return False

    def _goes_on(self) -> bool | None:
        """Whether the line that begins here belongs to the one before; None: not known yet."""
        begin = _passed(_SPACE, self._buffer, self._at)
        if begin == len(self._buffer):
            if begin - self._at > LONG_LINE:
                self._at = begin
            return None
        first = self._buffer[begin]
        indented = begin > self._at and self._buffer[begin - 1] in b" \t"
        return first in b"}]" or (indented and first not in _OPENING)


def _passed(pattern: re.Pattern[bytes], buffer: bytes, at: int) -> int:
    """Find the end of a pattern's match, which may be empty."""
    found = pattern.match(buffer, at)
    return at if found is None else found.end()


def _is_whole(line: bytes) -> bool:
    try:
        _whole(line)
    except msgspec.DecodeError:
        return False
    except RecursionError:  # the decoder reports it
        return True
    return True


def may_begin(text: bytes) -> bool:
    """Whether a line of this text may be the beginning of a document."""
    return _BEGIN.search(text) is not None
