"""Each format opened by the programs that people use: row by row what SQL says."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any, get_args

import csv_writer
import frictionless
import msgspec
import openpyxl
import pandas as pd
import polars as pl
import pytest

from exporting import ExportBench
from stored_messages import all_messages, fill
from stream.config import Settings
from stream.export_requests import FORMATS
from stream.store.exports import ColumnSet, Graph
from tools import run, tool

if TYPE_CHECKING:
    from pathlib import Path

    from exporting import Made
    from stream.db import Database

# What spreadsheets calculate, programs take for nothing, and files can be split at.
TEXTS = (
    *("=1+1", "-1", "+cmd|' /C x'!A1", "@sum", "NULL", "NA", "nan", "00123", "1e5", "2026-01-02"),
    *('a\nb\r\nc\rd "quoted", and; tab\t|', "مرحبا 雪 👩‍👩‍👧", "\x01\x1f", "\\N", "\ufeff", ""),
    *(
        "Grüße aus Köln",
        "1234567890123456789",
        "9/11",
        "24/7",
        "7.10",
        "7.10.",
        "1.5.2026",
        "12:30",
    ),
    *("Oct 7", "7 oct", "sept 11", "Mar-1", "24. Dezember", "10am", "1,234.5", "1.234,5", "0,5"),
    *(" 5 ", "1e5 ", "(5)", "5 €", "$5", "3 1/2", "true", "187", "covid19", "may be 5", "a 1/2"),
)
COLUMNS = "id, native_id, text, author, created_at, likes, longitude, latitude, hashtags, media"


@pytest.fixture
async def bench(connected: Database, tmp_path: Path) -> ExportBench:
    """Tweets of all networks."""
    await connected.execute("INSERT INTO tracks (value) VALUES ('x')")
    bodies = all_messages()
    bodies["x_v1"] += [
        json.dumps(
            {
                "id_str": str(1000 + number),
                "text": text,
                "user": {"id_str": "9", "screen_name": "eve", "name": text},
                "coordinates": {"coordinates": [-70.5, -33.25]},
                "favorite_count": number,
            }
        ).encode()
        for number, text in enumerate(TEXTS)
    ]
    await fill(connected, bodies)
    return ExportBench(connected, msgspec.structs.replace(Settings(), data_dir=str(tmp_path)))


async def said_by_sql(bench: ExportBench) -> list[dict[str, Any]]:
    rows = await bench.database.fetch(f"SELECT {COLUMNS} FROM tweets_flat ORDER BY id")
    assert len(rows) > len(TEXTS)
    return [dict(row) for row in rows]


def same(found: Any, wanted: Any) -> bool:
    """Whether a value is that of SQL; programs have several for one that is missing."""
    if wanted is None:
        return found == "" or bool(pd.isna(found))
    return bool(found == wanted)


def check(found: list[dict[str, Any]], wanted: list[dict[str, Any]], *names: str) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        for name in names:
            assert same(one[name], other[name]), (name, one[name], other[name])


# Of LibreOffice: `,` separates, `"` quotes, UTF-8, from the first line on, in a language (English,
# German) whose numbers and dates it looks for; and as shown.
READ_CSV = "CSV:44,34,76,1,,{},false,true"
WRITE_CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false"


def opened_by_libreoffice(path: Path, *options: str) -> list[dict[str, str]]:
    """The cells of the first sheet, as LibreOffice shows them."""
    profile = f"-env:UserInstallation={(path.parent / 'profile').as_uri()}"
    folder = path.parent / "shown"
    run(tool("soffice"), "--headless", profile, *options,
        "--convert-to", WRITE_CSV, "--outdir", folder, path)  # fmt: skip
    text = (folder / f"{path.stem}.csv").read_text("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def check_shown(found: list[dict[str, str]], wanted: list[dict[str, Any]]) -> None:
    """They are what SQL says, with one kind of line breaks, and apostrophes that keep texts."""
    assert len(found) == len(wanted)
    for row, other in zip(found, wanted, strict=True):
        for name in ("id", "native_id", "text", "author"):
            text = re.sub(r"\r\n?", "\n", str("" if other[name] is None else other[name]))
            assert row[name].replace("'", "") == text.replace("'", ""), name
        for name in ("likes", "longitude", "latitude"):
            value = other[name]
            assert row[name] == ("" if value is None else f"{value:.15g}"), name
        if (time := other["created_at"]) is not None:
            assert row["created_at"] == f"{time:%Y-%m-%d %H:%M:%S}"
        assert row["hashtags"].replace("'", "") == " ".join(other["hashtags"])


async def test_libreoffice_opens_workbooks(bench: ExportBench, tmp_path: Path) -> None:
    [data] = (await bench.made(format="xlsx")).data
    (tmp_path / "it.xlsx").write_bytes(data)
    rows = opened_by_libreoffice(tmp_path / "it.xlsx")
    check_shown(rows, await said_by_sql(bench))
    assert {row["text"] for row in rows} >= {"=1+1", "-1", "1234567890123456789", "00123"}


@pytest.mark.parametrize("language", [1033, 1031])
async def test_libreoffice_opens_csv_for_excel(
    bench: ExportBench, tmp_path: Path, language: int
) -> None:
    """Also when it looks for numbers and dates, as Excel always does."""
    [data] = (await bench.made(format="excel")).data
    (tmp_path / "it.csv").write_bytes(data)
    rows = opened_by_libreoffice(tmp_path / "it.csv", f"--infilter={READ_CSV.format(language)}")
    check_shown(rows, await said_by_sql(bench))


PLAIN = ("id", "native_id", "text", "author", "likes", "longitude", "latitude")


async def test_pandas(bench: ExportBench) -> None:
    wanted = await said_by_sql(bench)
    [data] = (await bench.made(format="csv")).data
    as_text = {"native_id": str, "text": str, "author": str}
    frame = pd.read_csv(
        io.BytesIO(data), dtype=as_text, keep_default_na=False, na_values={"likes": ""},
        parse_dates=["created_at"],
    )  # fmt: skip
    check(frame.to_dict("records"), wanted, *PLAIN[:4], "created_at")
    [data] = (await bench.made(format="parquet")).data
    rows = pd.read_parquet(io.BytesIO(data)).to_dict("records")
    for row in rows:
        row |= {name: list(row[name]) for name in ("hashtags", "media")}
    check(rows, wanted, *PLAIN, "created_at", "hashtags", "media")
    [data] = (await bench.made(format="ndjson")).data
    frame = pd.read_json(io.BytesIO(data), lines=True, dtype=False)
    frame["id"] = frame["id"].astype(int)
    check(frame.to_dict("records"), wanted, *PLAIN, "hashtags", "media")


async def test_polars(bench: ExportBench) -> None:
    wanted = await said_by_sql(bench)
    [data] = (await bench.made(format="csv")).data
    kinds = {"native_id": pl.String, "text": pl.String, "author": pl.String}
    frame = pl.read_csv(data, schema_overrides=kinds, infer_schema_length=None)
    check(frame.to_dicts(), wanted, "id", "native_id", "likes", "latitude")
    assert [text or "" for text in frame["text"]] == [row["text"] for row in wanted]
    [data] = (await bench.made(format="parquet")).data
    rows = pl.read_parquet(io.BytesIO(data)).to_dicts()
    check(rows, wanted, *PLAIN, "created_at", "hashtags", "media")
    [data] = (await bench.made(format="ndjson")).data
    frame = pl.read_ndjson(io.BytesIO(data), infer_schema_length=None)
    check(frame.with_columns(pl.col("id").cast(pl.Int64)).to_dicts(), wanted, *PLAIN, "hashtags")


async def test_openpyxl(bench: ExportBench) -> None:
    wanted = await said_by_sql(bench)
    [data] = (await bench.made(format="xlsx")).data
    sheet = openpyxl.load_workbook(io.BytesIO(data)).active
    assert sheet is not None
    cells = [list(row) for row in sheet.iter_rows()]
    assert not [cell for row in cells for cell in row if cell.data_type == "f"]
    names = [cell.value for cell in cells[0]]
    found = [dict(zip(names, [cell.value for cell in row], strict=True)) for row in cells[1:]]
    for row, other in zip(found, wanted, strict=True):
        assert row["id"] == str(other["id"])
        assert same(row["likes"], other["likes"])
        assert same(row["latitude"], other["latitude"])
        # As the format escapes what XML cannot have.
        text = other["text"].replace("\r", "_x000D_").replace("\x01\x1f", "_x0001__x001F_")
        assert (row["text"] or "") == text
        if other["created_at"] is not None:
            written = other["created_at"].replace(tzinfo=None, microsecond=0)
            assert row["created_at"].replace(microsecond=0) == written


async def test_csv_for_excel(bench: ExportBench) -> None:
    """Numbers are numbers, also below zero; texts are texts."""
    wanted = await said_by_sql(bench)
    [data] = (await bench.made(format="excel")).data
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    assert [row["likes"] for row in rows] == [
        "" if row["likes"] is None else str(row["likes"]) for row in wanted
    ]
    assert {row["latitude"] for row in rows} >= {"", "-33.25"}
    texts = {row["text"] for row in rows}
    assert texts >= {"'=1+1", "'-1", "'@sum", "'00123", "'1e5"}
    assert [row["text"].removeprefix("'") for row in rows if row["author"] == "eve"][:10] == [
        *TEXTS[:10]
    ]


async def test_twarc_csv(
    bench: ExportBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of messages as received: it reads those of X v2."""
    # Under this name it looks for what pandas 3 has under the other one.
    monkeypatch.setattr(pd.DataFrame, "applymap", pd.DataFrame.map, raising=False)
    await bench.database.execute("DELETE FROM matches; DELETE FROM tweets; DELETE FROM tweet_ids")
    metrics = {"like_count": 3, "retweet_count": 0, "reply_count": 0, "quote_count": 0}
    messages = [
        {
            "data": {"id": str(number), "text": text, "author_id": "5", "public_metrics": metrics},
            "includes": {"users": [{"id": "5", "name": "Ann", "username": "ann"}]},
            "matching_rules": [{"id": "1", "tag": "x"}],
        }
        for number, text in enumerate(TEXTS, 1)
    ]
    await fill(bench.database, {"x_v2": [json.dumps(each).encode() for each in messages]})
    [data] = (await bench.made(format="received")).data
    (tmp_path / "it.ndjson").write_bytes(data)
    with (tmp_path / "it.ndjson").open() as source, (tmp_path / "it.csv").open("w") as target:
        csv_writer.CSVConverter(source, target, hide_progress=True).process()
    frame = pd.read_csv(tmp_path / "it.csv", dtype=str, keep_default_na=False)
    found = dict(zip(frame["id"], frame["text"], strict=True))
    assert set(frame["author.username"]) == {"ann"}
    assert set(frame["public_metrics.like_count"]) == {"3"}
    rows = await bench.database.fetch("SELECT native_id, text FROM tweets_flat")
    assert len(frame) == len(rows) == len(TEXTS)
    assert found.keys() == {row["native_id"] for row in rows}


CHOICES = (
    *({"format": each} for each in FORMATS),
    *({"columns": each} for each in get_args(ColumnSet)),
    *({"format": "gexf", "graph": each} for each in get_args(Graph)),
)


@pytest.mark.parametrize("part_rows", [1000, 40])
@pytest.mark.parametrize("wanted", CHOICES, ids=str)
async def test_frictionless(
    bench: ExportBench, tmp_path: Path, wanted: dict[str, Any], part_rows: int
) -> None:
    made: Made = await bench.made(part_rows=part_rows, **wanted)
    with zipfile.ZipFile(made.path) as package:
        package.extractall(tmp_path)
    report = frictionless.validate(str(tmp_path / "datapackage.json"))
    assert report.valid, report.flatten(["type", "message"])
    assert report.stats["tasks"] == len(made.names) - 2
    for name in made.names[2:]:  # and finds a file that is not what was written
        (tmp_path / name).write_bytes(made.read(name)[:-1] + b"?")
    assert not frictionless.validate(str(tmp_path / "datapackage.json")).valid
