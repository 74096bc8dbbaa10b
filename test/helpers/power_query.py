"""Power Query's M, read by Microsoft's own parser. Excel itself is not run."""

import json
import re
import subprocess
from collections.abc import Sequence

from tools import NODE_MODULES, node_with

_READ = """
const { TaskUtils, DefaultSettings } = require("@microsoft/powerquery-parser");
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
(async () => {
  const found = [];
  for (const text of texts) {
    const read = await TaskUtils.tryLexParse(DefaultSettings, text);
    if (read.resultKind !== "Ok") throw new Error(text + ": " + read.error?.message);
    found.push([...read.nodeIdMapCollection.astNodeById.values()]
      .filter((node) => node.kind === "LiteralExpression" && node.literalKind === "Text")
      .map((node) => node.literal));
  }
  console.log(JSON.stringify(found));
})();
"""


def literals(texts: Sequence[str]) -> list[list[str]]:
    """The values of the texts in each of these expressions, all of which can be parsed."""
    node = node_with("@microsoft/powerquery-parser")
    done = subprocess.run(
        [node, "-e", _READ],
        cwd=NODE_MODULES.parent,
        input=json.dumps(list(texts)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [[_value(literal) for literal in each] for each in json.loads(done.stdout)]


_ESCAPE = re.compile(r'""|#\(([^)]*)\)')
_NAMED = {"#": "#", "cr": "\r", "lf": "\n", "tab": "\t"}


def _value(literal: str) -> str:
    """By the language's specification: the parser leaves the escapes as they are."""
    return _ESCAPE.sub(
        lambda found: (
            '"'
            if found[1] is None
            else "".join(_NAMED.get(each) or chr(int(each, 16)) for each in found[1].split(","))
        ),
        literal[1:-1],
    )
