"""A frame that a decoder accepts is one that jsonb accepts, once it is repaired."""

import random
from pathlib import Path

import psycopg

from stream.jsontext import sanitize_for_jsonb
from stream.networks.x_v1.decode import decode
from stream.tweet import Tweet

FRAMES = Path(__file__).parent.parent / "frames"
PIECES = (
    *(r"\u0000", r"\ud83d", r"\uDE00", r"\uDBFF", r"\udfff", r"\u0041", r"\\", r"\/", r"\""),
    *("u0000", "ud83d", "ude00", "雪", "a", "\x7f", "\ufeff", "\U0010ffff", r"\n", r"\u001f"),
)
NUMBERS = ("1e999", "-0", "1E+2", "0.0e-5", "1234567890123456789012345678901234567890", "1e-999")
DEEP = 500


def test_jsonb_takes_every_frame_that_a_decoder_accepts(server: str) -> None:
    chance = random.Random(1)
    bodies = [b'\xef\xbb\xbf {"id":77,"text":""}\r\n']
    for _ in range(300):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 6)))
        bodies.append(f'{{"id":77,"text":"{text}","x":{{"{text}":["{text}"]}}}}'.encode())
    bodies += [f'{{"id":77,"text":"","x":{number}}}'.encode() for number in NUMBERS]
    bodies += [b'{"id":77,"text":"","x":' + b"[" * DEEP + b"]" * DEEP + b"}"]
    for body in bodies:
        assert isinstance(decode(sanitize_for_jsonb(body)[0]), Tweet)
    bodies += [path.read_bytes() for path in FRAMES.rglob("*.json")]
    with psycopg.connect(server, autocommit=True) as connection:
        for body in bodies:
            connection.execute("SELECT %s::text::jsonb", [sanitize_for_jsonb(body)[0].decode()])
