"""zstd dictionaries: trained on generated posts, fetched by clients, changed by a deployment."""

import struct
from collections.abc import Sequence

import zstandard

V1_ID = 1612007021  # what clients of the v1 wire know
V2_ID = 20260811
SIZE = 64 << 10  # bytes
_MAGIC = 0xEC30A437


class Dictionaries:
    """The current v2 dictionary and the one of v1. Trained when first needed."""

    def __init__(self, samples: Sequence[bytes]) -> None:
        self.trained = zstandard.train_dictionary(SIZE, [*samples], dict_id=V2_ID).as_bytes()
        self.v2 = Compression(self.trained)
        self.other = Compression(with_id(self.trained, V2_ID + 999))  # that no client knows
        self.v1 = Compression(with_id(self.trained, V1_ID))

    def change(self) -> None:
        """Replace the v2 dictionary; the old one is unknown from now on."""
        self.v2 = Compression(with_id(self.trained[:-1] + b"\n", self.v2.id + 1))


class Compression:
    """One dictionary, ready to compress."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob
        self.id: int = struct.unpack_from("<I", blob, 4)[0]
        dictionary = zstandard.ZstdCompressionDict(blob)
        dictionary.precompute_compress(level=1)
        self._compressor = zstandard.ZstdCompressor(dict_data=dictionary)

    def compress(self, message: bytes) -> bytes:
        """One message as one frame."""
        return bytes(self._compressor.compress(message))


def with_id(blob: bytes, number: int) -> bytes:
    """The same dictionary under another id."""
    return struct.pack("<II", _MAGIC, number) + blob[8:]
