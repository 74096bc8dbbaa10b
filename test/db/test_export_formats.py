"""The formats of exports, opened by the programs that people open them with."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any, get_args
from xml.etree import ElementTree as ET

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exporting import ExportBench
from monitor.export import tables
from stream.config import Settings
from stream.errors import InvalidField
from stream.export_requests import FORMATS, FORMATS_WITH
from stream.spreadsheets import csv_cell
from stream.store import export_rows
from stream.store.export_columns import COLUMN_SETS
from stream.store.exports import ColumnSet, Format

if TYPE_CHECKING:
    from pathlib import Path

    from stream.db import Database, Row
    from test.db.conftest import ArchiveBench

FLAT = """
SELECT {} FROM tweets_flat WHERE id IN (SELECT tweet_id FROM matches WHERE track_id = 1) ORDER BY id
"""


@pytest.fixture
def bench(archive_bench: ArchiveBench, connected: Database, tmp_path: Path) -> ExportBench:
    return ExportBench(connected, msgspec.structs.replace(Settings(), data_dir=str(tmp_path)))


@pytest.mark.parametrize("columns", get_args(ColumnSet))
async def test_each_set_of_columns_is_written_as_each_table(
    bench: ExportBench, columns: ColumnSet
) -> None:
    names = [column.name for column in COLUMN_SETS[columns]]
    rows = (await bench.made(columns=columns)).csv_rows
    assert list(rows[0]) == names
    [parquet] = (await bench.made(columns=columns, format="parquet")).data
    table = pq.read_table(pa.BufferReader(parquet))
    assert table.column_names == names
    assert table.num_rows == len(rows)


async def test_parquet_has_lists_and_times_and_duckdb_reads_it(
    bench: ExportBench, archive_bench: ArchiveBench, tmp_path: Path
) -> None:
    made = await bench.made(format="parquet", part_rows=50)
    for number, data in enumerate(made.data):
        (tmp_path / f"{number}.parquet").write_bytes(data)
    found = duckdb.execute(
        f"SELECT id, author, text, hashtags, media FROM '{tmp_path}/*.parquet' ORDER BY id"
    ).fetchall()
    assert found == archive_bench.rows(FLAT.format("id, author, text, hashtags, media")) != []


async def test_csv_is_read_by_duckdb_as_sql_says(
    bench: ExportBench, archive_bench: ArchiveBench, tmp_path: Path
) -> None:
    [data] = (await bench.made()).data
    (tmp_path / "it.csv").write_bytes(data)
    found = duckdb.execute(
        f"SELECT id, native_id::VARCHAR, kind, created_at::TIMESTAMP FROM"
        f" read_csv('{tmp_path}/it.csv', all_varchar = false)"
    ).fetchall()
    rows = archive_bench.rows(FLAT.format("id, native_id, kind, created_at AT TIME ZONE 'UTC'"))
    assert found == rows


async def test_excel_calculates_and_rounds_nothing(
    bench: ExportBench, archive_bench: ArchiveBench
) -> None:
    archive_bench.rows("UPDATE tweets SET text = '=1+1', author = '-cmd' WHERE native_id LIKE '%1'")
    [data] = (await bench.made(format="excel")).data
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    texts = [row[0] for row in archive_bench.rows(FLAT.format("text"))]
    assert [row["text"] for row in rows] == [csv_cell(text) for text in texts]
    assert {"'=1+1"} < {row["text"] for row in rows}
    assert all(row["id"].startswith("'") for row in rows)


async def test_a_workbook_is_the_same_each_time_and_has_every_text(
    bench: ExportBench, archive_bench: ArchiveBench
) -> None:
    archive_bench.rows("UPDATE tweets SET text = '=1+1' WHERE native_id LIKE '%1'")
    made = await bench.made(format="xlsx", part_rows=100)
    texts = []
    for data in made.data:
        with zipfile.ZipFile(io.BytesIO(data)) as book:
            sheet = ET.fromstring(book.read("xl/worksheets/sheet1.xml"))
            space = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
            assert not sheet.findall(".//x:f", space)  # no formula
            texts += ["".join(each.itertext()) for each in sheet.findall(".//x:is", space)]
    for _, text in enumerate(row[0] for row in archive_bench.rows(FLAT.format("text"))):
        assert not text.isalnum() or text in texts
    assert "=1+1" in texts


async def test_messages_as_received_and_ids(
    bench: ExportBench, archive_bench: ArchiveBench
) -> None:
    archive_bench.rows("""UPDATE tweets SET doc = doc || '{"matching_rules": [{"id": "7"}]}'""")
    rows = archive_bench.rows(
        "SELECT doc - 'matching_rules', native_id FROM tweets WHERE id IN"
        " (SELECT id FROM tweets_flat) AND id IN"
        " (SELECT tweet_id FROM matches WHERE track_id = 1) ORDER BY id"
    )
    assert (await bench.made(format="received")).json_rows == [row[0] for row in rows] != []
    [ids] = (await bench.made(format="ids")).data
    assert ids.decode().split() == [row[1] for row in rows]


async def test_the_package_describes_its_files(bench: ExportBench) -> None:
    made = await bench.made(part_rows=50, words="\\N")
    package = json.loads(made.read("datapackage.json"))
    for resource in package["resources"]:
        data = made.read(resource["path"])
        assert resource["bytes"] == len(data)
        assert resource["hash"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        header = next(csv.reader(io.StringIO(data.decode(), newline="")))
        assert [field["name"] for field in resource["schema"]["fields"]] == header
    assert package["rows"] == len(made.csv_rows)
    readme = made.read("README.md").decode()
    for words in ("Deletions valid until", "snow", "Coverage", "Terms", r"their text: \N"):
        assert words in readme


async def test_pseudonyms_replace_names_and_ids(
    bench: ExportBench, archive_bench: ArchiveBench
) -> None:
    archive_bench.rows(
        "UPDATE tweets SET author = 'ann', author_id = '77', text = 'hi @Bob.social and @ann',"
        " url = 'https://x.com/ann/1'"
    )
    first, second = [await bench.made(pseudonyms=True, format=each) for each in ("csv", "ndjson")]
    for made in (first, second):
        data = b"".join(made.data).lower()
        for name in (b"ann", b"bob", b'"77"', b",77,"):
            assert name not in data
    assert len({row["author"] for row in first.csv_rows}) == 1
    assert {row["author"] for row in first.csv_rows} != {row["author"] for row in second.json_rows}
    with pytest.raises(InvalidField):
        await bench.request(pseudonyms=True, format="received")


async def test_with_pseudonyms_the_id_of_a_tweet_is_its_key_here(
    bench: ExportBench, archive_bench: ArchiveBench
) -> None:
    """The network's own id would lead to the author."""
    rows = archive_bench.rows(FLAT.format("id::text, native_id"))
    plain, hidden = [
        [row["id"] for row in (await bench.made(columns="twarc", pseudonyms=each)).csv_rows]
        for each in (False, True)
    ]
    assert plain == [native_id for _, native_id in rows]
    assert hidden == [key for key, _ in rows] != []
    assert not set(plain) & set(hidden)


@pytest.mark.parametrize("form", FORMATS)
async def test_a_choice_that_the_format_does_not_have_is_refused(
    bench: ExportBench, form: Format
) -> None:
    values: dict[str, Any] = {
        "columns": "simple",
        "graph": "mention",
        "min_weight": 2,
        "max_nodes": 5,
    }
    assert values.keys() == FORMATS_WITH.keys()
    for name, value in values.items():
        if form in FORMATS_WITH[name]:
            number = await bench.request(format=form, **{name: value})
            assert getattr(await bench.row(number), name) == value
            continue
        with pytest.raises(InvalidField, match=f"`{name}` cannot be chosen") as caught:
            await bench.request(format=form, **{name: value})
        assert caught.value.field == name
        assert f"for the format {form}: leave it out, or choose" in str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
async def test_an_export_of_nothing_has_a_file(bench: ExportBench, form: str) -> None:
    made = await bench.made(format=form, words="nothing like it")
    assert len(made.data) == (form != "gexf")  # whose files are nodes, edges and the graph
    assert len(made.names) > 2
    assert made.names[:2] == ["README.md", "datapackage.json"]


@pytest.mark.parametrize("form", ["excel", "xlsx", "parquet"])
async def test_few_rows_are_in_memory_at_a_time(
    bench: ExportBench, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for writer in (tables.ExcelCsvWriter, tables.XlsxWriter, tables.ParquetWriter):
        monkeypatch.setattr(writer, "keys_max", 20)
    held: list[int] = []
    fetch = export_rows.fetch

    async def counted(*arguments: Any) -> list[Row]:
        found = await fetch(*arguments)
        held.append(len(found))
        return found

    monkeypatch.setattr(export_rows, "fetch", counted)
    made = await bench.made(format=form)
    assert len(made.data) == 1
    assert max(held) <= 20 < sum(held)
