"""Text becomes documents: whatever its lines are, in bounded memory, each torn one for itself."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.importing.split import Splitter, may_begin

SHAPES: dict[str, tuple[bytes, list[bytes]]] = {
    "one a line": (b'{"a":1}\r\n\r\n {"b":2} \n{"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
    "many on a line": (b'{"a":1}{"b":2} {"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
    "commas at the ends": (b'{"a":1},\n{"b":2},\n', [b'{"a":1}', b'{"b":2}']),
    "an array": (b'[{"a":[1]},{"b":"]}"}]', [b'{"a":[1]}', b'{"b":"]}"}']),
    "an array of lines": (b'[\n{"a":1},\n{"b":2}\n]\n{"c":3}',
        [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
    "an array of arrays": (b'[[{"a":1}],[]]', [b'[{"a":1}]', b"[]"]),
    "an array of anything": (b'[1, "a", null, {}]', [b"1", b'"a"', b"null", b"{}"]),
    "NaN and Infinity in an array": (b'[{"a":NaN},{"b":[-Infinity]},\n{"c":Infinity}\n]',
        [b'{"a":NaN}', b'{"b":[-Infinity]}', b'{"c":Infinity}']),
    "NaN in an indented array": (b'[\n {\n  "a": NaN\n },\n NaN\n]',
        [b'{\n  "a": NaN\n }', b"NaN"]),
    "nothing": (b"[]\n\n", []),
    "indented": (b'{\n  "a": [\n    {}\n  ]\n}\n{"b":2}',
        [b'{\n  "a": [\n    {}\n  ]\n}', b'{"b":2}']),
    "an indented array": (b'[\n  {\n    "a": 1\n  },\n  {\n    "b": "\\"}"\n  }\n]',
        [b'{\n    "a": 1\n  }', b'{\n    "b": "\\"}"\n  }']),
    "an archive of an account": (
        b'window.YTD.tweets.part0 = [ {\n  "tweet" : { "id" : "1" }\n}, {\n} ]',
        [b'{\n  "tweet" : { "id" : "1" }\n}', b"{\n}"]),
    "byte order marks": (b'\xef\xbb\xbf{"a":1}\n\xef\xbb\xbf{"b":2}', [b'{"a":1}', b'{"b":2}']),
    "holes": (b'\0\0\0{"a":1}\n\0\0{"b":2}\n\0\0\0\n{"c":3}\0\0',
        [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
    "torn by a hole": (b'{"a":"x\0\0\0\n{"b":2}', [b'{"a":"x\0\0\0', b'{"b":2}']),
    "torn in a string": (b'{"a":"b\n{"c":1}', [b'{"a":"b', b'{"c":1}']),
    "torn after a comma": (b'{"a":1,\n{"b":2}\n{"c":3}', [b'{"a":1,', b'{"b":2}', b'{"c":3}']),
    "torn in a list": (b'{"a":[\n{"b":2}\n{"c":3}\n', [b'{"a":[', b'{"b":2}', b'{"c":3}']),
    "torn in an array": (b'[{"a":1},\n{"b":"x\n{"c":3},\n{"d":4}]',
        [b'{"a":1}', b'{"b":"x', b'{"c":3}', b'{"d":4}']),
    "an array that does not end": (b'[{"a":1}\n{"b":2}\n', [b'{"a":1}', b'{"b":2}']),
    "torn at the end": (b'{"a":1}\n{"b":', [b'{"a":1}', b'{"b":']),
    "other lines": (b"hello\nworld\n{}", [b"hello", b"world", b"{}"]),
    "something behind": (b'{"a":1} and\n{"b":2}', [b'{"a":1}', b"and", b'{"b":2}']),
    "indented and wrong": (
        b'[\n {\n  "a": nil,\n  "b": {\n   "c": 1\n  }\n },\n {\n  "d": 4\n }\n]',
        [b'{\n  "a": nil,\n  "b": {\n   "c": 1\n  }\n },', b'{\n  "d": 4\n }']),
    "too deep": (b"[" * 300 + b'\n{"a":1}', [b"[" * 299, b'{"a":1}']),
}  # fmt: skip


def split(data: bytes, step: int, longest: int = 1 << 20) -> list[bytes]:
    splitter = Splitter(longest)
    found: list[bytes] = []
    for at in range(0, len(data), step):
        found += splitter.feed(data[at : at + step])
    return [*found, *splitter.end()]


@pytest.mark.parametrize(("data", "documents"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("step", [1, 2, 5, 1 << 20])
def test_documents_in_each_layout(data: bytes, documents: list[bytes], step: int) -> None:
    assert split(data, step) == documents


OBJECTS = st.lists(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=10,
        ),
        max_size=4,
    ),
    max_size=6,
)


@given(OBJECTS, st.sampled_from([None, 1, 2]), st.booleans(), st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_any_json_is_split_into_its_objects(
    objects: list[object], indent: int | None, as_array: bool, step: int
) -> None:
    texts = [json.dumps(each, indent=indent, ensure_ascii=bool(indent)) for each in objects]
    text = json.dumps(objects, indent=indent) if as_array else "\n".join(texts)
    assert [json.loads(each) for each in split(text.encode(), step)] == objects


@given(OBJECTS, st.binary(max_size=30).filter(lambda junk: b"\n" not in junk), st.integers(1, 99))
@settings(max_examples=100, deadline=None)
def test_a_bad_line_costs_no_other(objects: list[object], junk: bytes, step: int) -> None:
    lines = [json.dumps(each).encode() for each in objects]
    # Brackets alone would be the beginning of an array, or of nothing.
    data = b"\n".join([*lines, b'{"x' + junk.replace(b'"', b"").replace(b"\\", b""), *lines])
    found = split(data, step)
    for line in lines:
        assert found.count(line) >= 2 * lines.count(line)


@pytest.mark.parametrize("step", [7, 64, 1 << 16])
def test_a_too_long_document_is_cut_and_the_next_is_found(step: int) -> None:
    long = b"x" * 5000
    data = b'{"a":"%b"}\n{"b":1}\n[{"c":"%b"},{"d":1}]\n{"e":"%b\n{"f":1}\n%b\n{"g":1}' % (
        (long,) * 4
    )
    found = split(data, step, 1000)
    assert [each for each in found if len(each) < 1000] == [b'{"%c":1}' % key for key in b"bdfg"]
    cut = [each[:6] for each in found if len(each) == 1000]
    assert cut == [b'{"a":"', b'{"c":"', b'{"e":"', b"xxxxxx"]


def test_memory_is_bounded_while_a_long_line_is_read() -> None:
    splitter = Splitter(1 << 20)
    chunk = b"x" * (1 << 16)
    tracemalloc.start()
    try:
        found = [len(each) for each in splitter.feed(b'{"text":"')]
        for _ in range(300):  # 20 MB
            found += [len(each) for each in splitter.feed(chunk)]
        found += [len(each) for each in splitter.feed(b'"}\n{"a":1}\n')]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [1 << 20, 7]
    assert most < 5 << 20


@pytest.mark.parametrize(
    ("text", "may"),
    [
        (b"id,text\n1,{}\n", False),
        (b"\0\1\2", False),
        (b"torn line\n  {", True),
        (b"\xef\xbb\xbf[", True),
        (b"window.YTD.tweet.part0 = [", True),
    ],
)
def test_whether_a_text_may_be_json(text: bytes, may: bool) -> None:
    assert may_begin(text) == may
