"""Text from outside: what may be a name, and how any text is shown on one line.

Names and descriptions come in files that somebody else has made, and go on into netlists, tables, pages and pictures.
There a line break may begin a command, and a control character may hide what stands beside it. So names are checked
where they enter (`check_name`, `check_text`), and whatever is written out goes through `one_line` once more.
"""

from __future__ import annotations

import unicodedata

__all__ = ["check_name", "check_text", "one_line", "plain_text", "printable"]

MOST_NAME_CHARACTERS = 200
MOST_TEXT_CHARACTERS = 10_000
SHOWN_CHARACTERS = 60
"""Of a refused text in the message about it."""


def printable(char: str) -> bool:
    """Whether a character shows as itself and keeps to its place on its line.

    Not so: control and format characters (those that turn the direction of writing among them), line and paragraph
    separators, lone surrogates, and code points that mean nothing. Spaces of any width are printable.
    """
    return char.isprintable() or unicodedata.category(char) == "Zs"


def one_line(text: str, limit: int | None = MOST_NAME_CHARACTERS) -> str:
    r"""Any text as one printable line: what is not printable as an escape such as `\x0a` or `\u2028`.

    Args:
        text: any text.
        limit: most characters of the line; a longer one ends in `...`. None for any number.
    """
    line = text if limit is None else text[: limit + 1]  # no escape is shorter than what it stands for
    if not line.isprintable():
        line = "".join(char if printable(char) else _escape(char) for char in line)
    return line if limit is None or len(line) <= limit else line[: max(limit - 3, 0)] + "..."


def plain_text(text: str) -> str:
    """Any text as printable lines: line breaks and tabs stay, what else is not printable becomes an escape."""
    if text.isprintable():
        return text
    lines = text.replace("\r\n", "\n")
    return "".join(char if printable(char) or char in "\n\t" else _escape(char) for char in lines)


def check_name(
    text: object, what: str, *, limit: int = MOST_NAME_CHARACTERS, error: type[Exception] = ValueError
) -> str:
    """The name, if it is one: some printable characters on one line.

    Args:
        text: what stands where a name should.
        what: it names, for the message: "the spec's name", "network.deployment: the name of a layer".
        limit: most characters.
        error: class of the exception.

    Raises:
        Exception: of class `error`, with what was expected and what was got.
    """
    expected = f"{what}: expected a name of 1 to {limit} printable characters on one line"
    name = _checked(text, expected, limit, error)
    if not name.strip():
        raise error(f"{expected}, got {'nothing' if not name else 'spaces alone'}")
    bad = next((char for char in name if not printable(char)), None)
    if bad is not None:
        raise error(f"{expected}, got the character {_escape(bad)} in '{one_line(name, SHOWN_CHARACTERS)}'")
    return name


def check_text(
    text: object, what: str, *, limit: int = MOST_TEXT_CHARACTERS, error: type[Exception] = ValueError
) -> str:
    """A description, if it is one: printable characters, line breaks and tabs; it may be empty.

    Args:
        text: what stands where a description should.
        what: it describes, for the message.
        limit: most characters.
        error: class of the exception.

    Raises:
        Exception: of class `error`, with what was expected and what was got.
    """
    expected = f"{what}: expected up to {limit:,} printable characters and line breaks"
    checked = _checked(text, expected, limit, error)
    bad = next((char for char in checked if not (printable(char) or char in "\n\r\t")), None)
    if bad is not None:
        raise error(f"{expected}, got the character {_escape(bad)} in '{one_line(checked, SHOWN_CHARACTERS)}'")
    return checked


def _checked(text: object, expected: str, limit: int, error: type[Exception]) -> str:
    if not isinstance(text, str):
        raise error(f"{expected}, got {one_line(repr(text), SHOWN_CHARACTERS)}")
    if len(text) > limit:
        raise error(f"{expected}, got {len(text):,} characters: '{one_line(text, SHOWN_CHARACTERS)}'")
    return text


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
