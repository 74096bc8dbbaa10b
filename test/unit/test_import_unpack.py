"""What is packed is known by its content; what was whole before a damage is not lost with it."""

import bz2
import gzip
import lzma
import random
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
import zstandard

from stream.importing.unpack import Damaged, NotRead, as_utf8, unpacked

_numbers = random.Random(1)
TEXT = b"".join(b'{"id":%d,"text":"%x"}\n' % (n, _numbers.getrandbits(256)) for n in range(4000))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def chunks(data: bytes, step: int = 10_000) -> Iterator[bytes]:
    return (data[at : at + step] for at in range(0, len(data), step))


def until_damage(unpacking: Iterator[bytes]) -> tuple[bytes, str]:
    found = b""
    try:
        for chunk in unpacking:
            found += chunk
    except Damaged as damage:
        return found, str(damage)
    pytest.fail("nothing was damaged")


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("step", [17, 1 << 20])
def test_the_compression_is_recognized_by_content(name: str, step: int) -> None:
    packed = PACKERS[name](TEXT)
    assert b"".join(unpacked(chunks(packed, step))) == TEXT
    assert b"".join(unpacked(chunks(gzip.compress(packed), step))) == TEXT  # packed twice
    assert b"".join(unpacked(chunks(TEXT, step))) == TEXT


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])
@pytest.mark.parametrize("step", [17, 1 << 20])
def test_several_members_are_unpacked(name: str, step: int) -> None:
    pack = PACKERS[name]
    packed = pack(TEXT) + pack(b"") + pack(b"{}\n")
    assert b"".join(unpacked(chunks(packed, step))) == TEXT + b"{}\n"


def test_zstd_with_frames_that_are_skipped() -> None:
    """As pzstd and the seekable format write them, and our own journal."""
    skipped = b"\x5e\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    packed = skipped + zstandard.compress(TEXT) + skipped + zstandard.compress(b"{}\n") + skipped
    for step in (1, 1 << 20):
        assert b"".join(unpacked(chunks(packed, step))) == TEXT + b"{}\n"


@pytest.mark.parametrize("name", PACKERS)
@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5])
def test_a_truncated_file_is_unpacked_up_to_its_end(name: str, kept: float) -> None:
    packed = PACKERS[name](TEXT)
    cut = packed[: int(len(packed) * kept)]
    found, damage = until_damage(unpacked(chunks(cut)))
    assert "ends too early" in damage
    assert TEXT.startswith(found)
    # All but the last block, which in bzip2 is of 100 kB, and in zstd of 128 kB.
    block = {"bzip2": 100_000, "zstd": 128 << 10}.get(name, 2000)
    assert len(found) > len(TEXT) * kept - block


def test_a_small_truncated_file_is_unpacked_up_to_its_end() -> None:
    text = b'{"a":1}\n{"b":2}\n'
    found, damage = until_damage(as_utf8(unpacked(chunks(gzip.compress(text)[:-8]))))
    assert (found, damage) == (text, "it is compressed with gzip and ends too early")


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz", "zstd"])  # those with checksums
def test_a_damaged_file_is_unpacked_up_to_the_damage(name: str) -> None:
    packed = bytearray(PACKERS[name](TEXT))
    packed[len(packed) * 3 // 4] ^= 0x55
    found, damage = until_damage(unpacked(chunks(bytes(packed), 1 << 20)))
    assert name in damage
    assert found[:20_000] == TEXT[:20_000]


@pytest.mark.parametrize("name", PACKERS)
def test_a_compression_bomb_takes_little_memory(name: str) -> None:
    packed = PACKERS[name](bytes(32 << 20))
    tracemalloc.start()
    try:
        assert sum(len(chunk) for chunk in unpacked(chunks(packed, 1 << 16))) == 32 << 20
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 << 20


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"7z\xbc\xaf\x27\x1c" + b"\0" * 600, "7-Zip"),
        (b"PAR1" + b"\x15" * 600, "Parquet"),
        (b"tweets.json".ljust(257, b"\0") + b"ustar\0" + b"\0" * 400, "tar"),
        (b"\x89PNG\r\n\x1a\n\0\0", "binary data"),
    ],
)
def test_other_kinds_of_files_are_refused(data: bytes, said: str) -> None:
    for packed in (data, gzip.compress(data)):
        with pytest.raises(NotRead, match=said):
            as_utf8(unpacked(chunks(packed)))


@pytest.mark.parametrize("text", [b"{}\n" + b"\0" * 9, b"\0" * 9 + b"[1]", b"\0" * 5000 + b"{}"])
def test_a_hole_in_a_file_is_no_other_kind_of_file(text: bytes) -> None:
    assert b"".join(as_utf8(chunks(text))) == text


@pytest.mark.parametrize(
    "encoded",
    ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_each_encoding_is_read(encoded: str, step: int) -> None:
    text = '{"text":"Schnee, 雪, ❄️"}\n'
    found = b"".join(as_utf8(chunks(text.encode(encoded), step)))
    assert found.removeprefix(b"\xef\xbb\xbf") == text.encode()
