import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrat.names import check_name, check_text, one_line, plain_text

ANY = st.text(st.characters(exclude_categories=()), max_size=300)  # lone surrogates and NUL too
HARMFUL = [
    "\n",
    "\r",
    "\0",
    "\x1b",
    "\x85",
    "\x0b",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u200b",
    "\ud800",
    "\ufeff",
    "\uffff",
]


@pytest.mark.parametrize(
    "name", ["blocks.0.conv", "Schicht zwei", "μ-layer", "层", "a/b", "$x$", " x", "TiO\u00a0x", "x" * 200]
)
def test_names_that_people_give_are_taken(name):
    assert check_name(name, "a layer") == name
    assert one_line(name) == name


@pytest.mark.parametrize("char", HARMFUL)
def test_a_character_that_does_not_show_is_refused_and_named(char):
    escape = f"\\x{ord(char):02x}" if ord(char) < 0x100 else f"\\u{ord(char):04x}"
    with pytest.raises(ValueError, match="a layer: expected a name") as refusal:
        check_name(f"a{char}.control", "a layer")
    assert escape in str(refusal.value)
    assert char not in str(refusal.value)
    assert one_line(f"a{char}b") == f"a{escape}b"


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, 3, None, ["a"], b"a"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(LookupError, match="the spec's name: expected a name of 1 to 200 printable characters"):
        check_name(name, "the spec's name", error=LookupError)


def test_a_description_has_line_breaks_and_nothing_else_of_the_kind():
    assert check_text("one\ntwo\r\n\tthree", "a description") == "one\ntwo\r\n\tthree"
    assert check_text("", "a description") == ""
    for text in ("a\0b", "a\x1b[31mb", "\u202eevil", "x" * 10_001, 5):
        with pytest.raises(ValueError, match="a description: expected up to 10,000 printable characters"):
            check_text(text, "a description")


@given(ANY, st.integers(3, 250))
def test_any_text_becomes_one_printable_line(text, limit):
    line = one_line(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")  # no lone surrogate is left
    assert one_line(line, limit) == line


@given(ANY)
def test_any_text_becomes_printable_lines(text):
    plain = plain_text(text)
    plain.encode("utf-8")
    assert all(line == one_line(line, None) for line in plain.replace("\t", "").split("\n"))
    assert plain.count("\n") == text.count("\n")
    assert plain_text(plain) == plain


@given(ANY)
def test_a_name_that_is_taken_is_written_as_it_is(text):
    try:
        check_name(text, "a layer")
    except ValueError:
        return
    assert one_line(text) == text
