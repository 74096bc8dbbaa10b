"""The HTML of a status as text, and the addresses that it links to.

Mastodon allows few elements: paragraphs, line breaks, links, lists, quotations and code. Servers of
other software send what theirs allow; it is read as a browser would show it.
"""

import re
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

_SPACE = re.compile(r"[ \t\r\n\f]+")
# Newlines around an element; two make an empty line.
_BREAKS = {
    **dict.fromkeys(("p", "blockquote", "pre", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6"), 2),
    **dict.fromkeys(("div", "li", "tr", "hr"), 1),
}
# Readings beside characters would split the words that they explain.
_SKIPPED = {"rt", "rp", "script", "style", "template"}
_QUOTE = "quote-inline"  # repeats the address of the quoted post, for servers without quotes


class HtmlText(NamedTuple):
    """A text, its hashtags as written, and the addresses of its other links without mentions."""

    text: str
    links: tuple[str, ...] = ()
    hashtags: tuple[str, ...] = ()


def html_to_text(html: str) -> HtmlText:
    """The text as a browser shows it, with addresses that it shortens in full."""
    if "<" not in html and "&" not in html:
        return HtmlText(_SPACE.sub(" ", html).strip(" "))
    writer = _Writer()
    # An explicit body: a <frameset> in the text would replace an implied one.
    body = LexborHTMLParser(f"<body>{html}").body
    waiting: list[tuple[LexborNode, bool]] = []  # nodes, and whether their children are done
    if body is not None and body.first_child is not None:
        waiting.append((body.first_child, False))
    while waiting:
        node, done = waiting.pop()
        if done:
            writer.leave(node)
            continue
        if node.next is not None:
            waiting.append((node.next, False))
        if writer.enter(node):
            waiting.append((node, True))
            if node.first_child is not None:
                waiting.append((node.first_child, False))
    return HtmlText(writer.text(), tuple(writer.links), tuple(writer.hashtags))


class _Writer:
    """The text of the nodes before; spaces and line breaks are those that a browser shows."""

    def __init__(self) -> None:
        self.links: dict[str, None] = {}
        self.hashtags: dict[str, None] = {}
        self._parts: list[str] = []
        self._newlines = 0  # before the next text
        self._space = False  # a space before the next text
        self._marked = False  # the last part is the mark of a list's item
        self._preformatted = 0  # depth
        self._lists: list[int] = []  # the last number of each open list; -1: not numbered

    def text(self) -> str:
        return "".join(self._parts).strip()

    def enter(self, node: LexborNode) -> bool:
        """Write the beginning of a node; False when its children do not count."""
        if node.is_text_node:
            self._write(node.text_content or "")
            return False
        tag = node.tag
        if not node.is_element_node or tag in _SKIPPED:
            return False
        classes = (node.attributes.get("class") or "").split()
        if _QUOTE in classes:
            return False
        self._separate(tag)
        match tag:
            case "br":
                self._newlines += 1
            case "a":
                self._anchor(node, classes)
            case "img":
                self._write(node.attributes.get("alt") or "")
            case "pre":
                self._preformatted += 1
            case "ul" | "ol":
                self._lists.append(0 if tag == "ol" else -1)
            case "li":
                self._mark()
        return True

    def leave(self, node: LexborNode) -> None:
        """Write the end of a node."""
        tag = node.tag
        if tag == "pre":
            self._preformatted -= 1
        elif tag in ("ul", "ol"):
            self._lists.pop()
        self._separate(tag)

    def _anchor(self, node: LexborNode, classes: list[str]) -> None:
        address = (node.attributes.get("href") or "").strip()
        if "hashtag" in classes:
            self.hashtags[node.text().strip().lstrip("#＃")] = None
        elif address and "mention" not in classes:
            self.links[address] = None

    def _separate(self, tag: str | None) -> None:
        number = _BREAKS.get(tag or "", 0)
        if tag in ("ul", "ol") and self._lists:
            number = 1  # a list in a list
        if not self._marked:
            self._newlines = max(self._newlines, number)

    def _mark(self) -> None:
        """The mark before an item of a list."""
        mark = "• "
        if self._lists and self._lists[-1] >= 0:
            self._lists[-1] += 1
            mark = f"{self._lists[-1]}. "
        self._append(mark)
        self._marked = True

    def _write(self, text: str) -> None:
        if self._preformatted:
            self._append(text.replace("\r", ""))
            return
        words = _SPACE.sub(" ", text)
        self._space = self._space or words.startswith(" ")
        if words := words.strip(" "):
            self._append(words)
            self._space = _SPACE.match(text[-1]) is not None

    def _append(self, text: str) -> None:
        if not text:
            return
        if self._parts and not self._marked:
            self._parts.append("\n" * self._newlines or " " * self._space)
        self._newlines, self._space, self._marked = 0, False, False
        self._parts.append(text)
