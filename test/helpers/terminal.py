"""Commands of the program, each as a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

PROGRAM = [sys.executable, str(Path(__file__).resolve().parents[2] / "twitterstream.py")]


class Terminal:
    """A shell in an empty folder with one config.yaml."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self.database = database
        settings: dict[str, Any] = {
            "database": database,
            "journal": {"min_free_bytes": 0, "min_free_percent": 0},
        }
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(settings))

    def set(self, **changed: Any) -> None:
        """Change settings."""
        self.config.write_text(json.dumps(json.loads(self.config.read_text()) | changed))

    def run(
        self, *words: str, given: str | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=self.folder,
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()
