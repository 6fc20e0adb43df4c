"""Words of a Dockerfile are expanded as BuildKit does it: the tables were compared with `docker build`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirun.build.dockerfile.error import DockerfileError
from minirun.build.variables.substitution import with_replacement, without_prefix, without_suffix
from minirun.build.variables.words import expand, expand_text, expand_to_words

VARIABLES = {"x": "X", "y": "Y  Z", "e": "", "s": "foobarbaz", "p": "/usr/lib/libc.so.6", "x_1": "long"}
# Characters that mean something in a word; without them it means itself.
PLAIN = st.text(st.characters(exclude_characters="$'\"\\`"))


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("", ""),
        ("plain  text", "plain  text"),
        ("$x", "X"),
        ("${x}", "X"),
        ("a$x.b", "aX.b"),
        ("$x_1", "long"),
        ("${x}_1", "X_1"),
        ("$unset|", "|"),
        ("$", "$"),
        ("a$ b", "a$ b"),
        ("$.", "$."),
        ("$$", ""),
        ("$@x", "x"),
        ("$1a", "a"),
        ("$12a", "a"),
        ("$y", "Y  Z"),
        ("'$x'", "$x"),
        ('"$x"', "X"),
        ("\"'$x'\"", "'X'"),
        ("'a'\"b\"c", "abc"),
        (r"\$x", "$x"),
        (r"\${x}", "${x}"),
        (r"\a\\", "a\\"),
        (r'"\a\$x\\\""', '\\a$x\\"'),
        (r"'\'", "\\"),
        ("a\\", "a"),
        ("${e:-w}", "w"),
        ("${e-w}", ""),
        ("${u:-w}", "w"),
        ("${u-w}", "w"),
        ("${x:-w}", "X"),
        ("${x:+w}", "w"),
        ("${e:+w}", ""),
        ("${e+w}", "w"),
        ("${u+w}", ""),
        ("${u:-a b}", "a b"),
        ("${u:-$x}", "X"),
        ("${u:-${e:-${x}}}", "X"),
        ('${u:-"}"}', "}"),
        (r"${u:-\}}", "}"),
        ("${u:-}", ""),
        ("${x?no}", "X"),
        ("${e?no}", ""),
        ("${x:?no}", "X"),
        ("${s#f*b}", "arbaz"),
        ("${s##f*b}", "az"),
        ("${s%b*}", "foobar"),
        ("${s%%b*}", "foo"),
        ("${s/ba/fo}", "fooforbaz"),
        ("${s//ba/fo}", "fooforfoz"),
        ("${s#x}", "foobarbaz"),
        ("${s%az}", "foobarb"),
        ("${s#?}", "oobarbaz"),
        ("${p##*/}", "libc.so.6"),
        ("${p%/*}", "/usr/lib"),
        ("${p%%.*}", "/usr/lib/libc"),
        (r"${p//\//-}", "-usr-lib-libc.so.6"),
        ("${p//./_}", "/usr/lib/libc_so_6"),
        ("${s//*/n}", "n"),
        ("${s/o*b/-}", "f-az"),
        ("${s/o?b/-}", "f-arbaz"),
        ("${s/o??b/-}", "foobarbaz"),
        ("${s/$u/-}", "-foobarbaz"),
        ("${s/ba/$x}", "fooXrbaz"),
        ("${s/ba/}", "foorbaz"),
        ("${u#a}", ""),
        ("${u/a/b}", ""),
        (r"${s#\f}", None),
    ],
)
def test_expansion(word: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(DockerfileError, match="invalid escape"):
            expand(word, VARIABLES)
    else:
        assert expand(word, VARIABLES) == value


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("${x", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${x:-a", "syntax error: missing '}'"),
        ("${x:-${y}", "syntax error: missing '}'"),
        ("${x:-'}", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${{x}}", "syntax error: bad substitution"),
        ("${x=a}", "unsupported modifier (=) in substitution"),
        ("${x:=a}", "unsupported modifier (:=) in substitution"),
        ("${x:#a}", "unsupported modifier (:#) in substitution"),
        ("${x/a}", "syntax error: missing '/' in ${}"),
        ("${x/a/b", "syntax error: missing '}'"),
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ('"a', "unexpected end of statement while looking for matching double-quote"),
        ("${u?}", "u: is not allowed to be unset"),
        ("${u:?}", "u: is not allowed to be unset"),
        ("${e:?}", "e: is not allowed to be empty"),
        ("${e:?say it}", "e: say it"),
        ("${u?say $x}", "u: say X"),
    ],
)
def test_what_cannot_be_expanded(word: str, reason: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        expand(word, VARIABLES)
    assert caught.value.reason.endswith(f": {reason}"), caught.value.reason
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("a  b", ("a", "b")),
        ("'a  b'", ("a  b",)),
        ("$y", ("Y", "Z")),
        ('"$y"', ("Y  Z",)),
        ("a$y", ("aY", "Z")),
        (r"a\ b", ("a b",)),
        ("$e", ()),
        ('""', ()),
        ("", ()),
        ("$x$y$x", ("XY", "ZX")),
    ],
)
def test_words_end_at_blanks_of_values_too(word: str, words: tuple[str, ...]) -> None:
    assert expand_to_words(word, VARIABLES) == words


def test_the_escape_directive_changes_what_escapes() -> None:
    assert expand("`$x", VARIABLES, "`") == "$x"
    assert expand(r"c:\$x", VARIABLES, "`") == "c:\\X"
    assert expand('"`""', VARIABLES, "`") == '"'


def test_quotes_in_the_text_of_a_heredoc_are_text() -> None:
    assert expand_text("say '$x' and \"${y}\"\n", VARIABLES) == "say 'X' and \"Y  Z\"\n"
    assert expand_text(r"\$x", VARIABLES) == "$x"


@given(PLAIN)
def test_a_word_without_special_characters_is_itself(word: str) -> None:
    assert expand(word, VARIABLES) == word
    assert expand_to_words(word, VARIABLES) == tuple(word.split())


@given(st.text(st.characters(exclude_characters="'")))
def test_single_quotes_keep_everything(text: str) -> None:
    assert expand(f"'{text}'", {}) == text


@given(st.text(st.sampled_from("$x{}:-+?#%/*'\"\\ae ")), st.sampled_from("\\`"))
def test_any_word_has_a_value_or_an_error_of_ours(word: str, escape: str) -> None:
    try:
        value = expand(word, VARIABLES, escape)
    except DockerfileError:
        return
    # Words are the value, split: nothing is lost but blanks.
    assert "".join("".join(expand_to_words(word, VARIABLES, escape)).split()) == "".join(value.split())


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(DockerfileError, match="too many substitutions"):
        expand("${u:-" * 5000 + "}" * 5000, {})


@given(st.text(st.characters(exclude_characters="*?\\#%/"), min_size=1), st.text(), st.text())
def test_patterns_without_wildcards_are_texts(pattern: str, value: str, replacement: str) -> None:
    assert without_prefix(value, pattern) == value.removeprefix(pattern)
    assert without_suffix(value, pattern) == value.removesuffix(pattern)
    assert with_replacement(value, pattern, replacement, everywhere=True) == value.replace(pattern, replacement)
    assert with_replacement(value, pattern, replacement, everywhere=False) == value.replace(pattern, replacement, 1)
