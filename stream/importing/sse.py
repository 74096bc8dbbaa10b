"""Server-sent events → the text in them, for streams recorded with `curl`; other text stays.

Each `data:` line becomes a line of its own: streams send a whole message in one. A deletion or an
edit of Mastodon, which only the event's name tells, becomes a message as over a WebSocket.
"""

import io
import itertools
import re
from collections.abc import Iterator

from stream.importing.unpack import Chunks, with_head

# The first line may begin with a byte order mark.
_EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?::[^\n]*\s+)*(?:data|event|id|retry):")
_DATA = re.compile(rb"(?:\xef\xbb\xbf)?data: ?")
_DROPPED = re.compile(rb"(?:\xef\xbb\xbf)?(?:event|id|retry)?:")  # without a name: a comment
# Events of Mastodon whose data alone would be a number, or a new post.
_NAMED = re.compile(rb"(?:\xef\xbb\xbf)?event: ?(delete|status\.update)\s*\Z")
_FIELD_MAX = 32  # bytes that show what a line is


def without_events(chunks: Chunks) -> Chunks:
    """The data of server-sent events; a text that does not begin with an event as it is."""
    head, chunks = with_head(chunks)
    return _data(chunks) if _EVENTS.match(head) else chunks


def _data(chunks: Chunks) -> Iterator[bytes]:
    # Of the line that is not finished; `name`: of its event.
    begin, inside, dropped, name = b"", False, False, b""
    for chunk in itertools.chain(chunks, [b"\n"]):
        parts = []
        text, begin = begin + chunk, b""
        for line in io.BytesIO(text):
            is_finished = line.endswith(b"\n")
            if not inside and not is_finished and len(line) < _FIELD_MAX:
                begin = line
                break
            field = None if inside else _DATA.match(line)
            if not inside:
                dropped = _DROPPED.match(line) is not None
                if field is None:  # `event:`, or the end of an event
                    named = _NAMED.match(line)
                    name = b"" if named is None else named[1]
                elif name:
                    parts.append(b'{"event":"%b","payload":' % name)
            data = line[field.end() :] if field else line
            if name and is_finished:
                data = data.rstrip(b"\r\n") + b"}\n"
            if not dropped:
                parts.append(data)
            inside = not is_finished
        yield b"".join(parts)
