"""Positions of a cursor over many lanes as a few bytes each. Pure, no I/O.

A position is a lane, a run and a key. Most keys are of the last minutes and end with the number of
their lane (see `tweet_key`): of those only the microseconds since the newest of all are written.
"""

from collections.abc import Iterable, Iterator

LANE_BITS = 12  # the end of a key
_LANE = (1 << LANE_BITS) - 1
_BYTE = 0x7F  # seven bits of a number
_LAST = 63  # a number has at most 64 bits

Position = tuple[int, int, int]


def pack(positions: Iterable[Position]) -> bytes:
    """The bytes of positions; `unpack` gives them in the order of lanes and runs."""
    ordered = sorted(positions)
    newest = max((key for _, _, key in ordered), default=0)
    packed = bytearray()
    _add(packed, newest)
    lane = 0
    for each, run, key in ordered:
        is_own = key & _LANE == each
        _add(packed, each - lane)
        _add(packed, run << 1 | is_own)
        _add(packed, (newest >> LANE_BITS) - (key >> LANE_BITS) if is_own else newest - key)
        lane = each
    return bytes(packed)


def unpack(packed: bytes) -> Iterator[Position]:
    """The positions; ValueError where the bytes are not from `pack`."""
    numbers = _numbers(packed)
    newest = next(numbers, None)
    if newest is None:
        raise ValueError(packed)
    lane = 0
    for more in numbers:
        run, age = next(numbers, None), next(numbers, None)
        if run is None or age is None:
            raise ValueError(packed)
        lane += more
        key = ((newest >> LANE_BITS) - age) << LANE_BITS | lane if run & 1 else newest - age
        if lane > _LANE or key < 0:
            raise ValueError(packed)
        yield lane, run >> 1, key


def _add(packed: bytearray, number: int) -> None:
    """Append a number as LEB128: seven bits in each byte, the lowest first."""
    while number > _BYTE:
        packed.append(number & _BYTE | 0x80)
        number >>= 7
    packed.append(number)


def _numbers(packed: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in packed:
        number |= (byte & _BYTE) << shift
        if byte & 0x80:
            shift += 7
            if shift > _LAST:
                raise ValueError(packed)
        else:
            yield number
            number = shift = 0
    if shift:
        raise ValueError(packed)
