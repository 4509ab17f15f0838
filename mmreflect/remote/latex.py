r"""LaTeX in JSON: models write `"\frac{1}{2}"` where JSON wants `"\\frac{1}{2}"`, and JSON reads a form feed and `rac`.

In a string a backslash that begins a LaTeX command is meant literally. Which of `\n`, `\r`, `\t` begin one a list
decides, by the whole word behind the backslash: `\nabla` is a command, `\nNow` a new line. `\b` and `\f` before a
letter always do: no reply means a backspace. A backslash that begins no escape of JSON is literal as well.
"""

import re

_COMMANDS = {
    "n": "nabla natural ncong ne nearrow neg neq newcommand newline nexists ngeq ngeqslant ngtr nleftarrow nleq "
    "nleqslant nless nmid nobreak nolimits nonumber normalsize not notag notin nparallel nprec nrightarrow nsim "
    "nsubseteq nsucc nsupseteq ntriangleleft ntriangleright nu nvdash nwarrow",
    "r": "raise raisebox rangle rbrace rbrack rceil ref renewcommand rfloor rgroup rho right rightarrow rightarrowtail "
    "rightharpoondown rightharpoonup rightleftarrows rightleftharpoons rightrightarrows rightsquigarrow "
    "rightthreetimes risingdotseq rm rmoustache root rtimes rule rVert rvert",
    "t": "tag tan tanh tau tbinom text textbf textcolor textit textmd textnormal textrm textsc textsf textstyle "
    "textsuperscript textsubscript texttt textup tfrac therefore theta thickapprox thicksim thinspace tilde times tiny "
    "to top triangle triangledown triangleleft trianglelefteq triangleq triangleright trianglerighteq tt "
    "twoheadleftarrow twoheadrightarrow",
}
_KNOWN = {letter: frozenset(names.split()) for letter, names in _COMMANDS.items()}
_ONE_LETTER = ("ne", "nu")
"""Commands that are a new line and one letter as well: a writer who doubles other backslashes means a new line."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[a-zA-Z]+|.)", re.DOTALL)
_UNICODE = re.compile(r"u[0-9a-fA-F]{4}")
_DOUBLED = re.compile(r"(?<!\\)(?:\\\\)+[a-zA-Z]")
_ROWS = re.compile(r"(?<!\\)\\begin\{")
"""An environment whose backslash is not doubled: its row breaks are not either."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def literal_backslashes(block: str) -> tuple[str, int]:
    r"""Return a JSON text whose strings hold LaTeX as it was meant, and how many backslashes were doubled.

    `\ne` and `\nu` are new lines where the text doubles the backslash of some other command. In a string with a plain
    `\begin{`, `\\` is the break of a row, unless a letter follows it.
    """
    mended = 0
    doubles = _DOUBLED.search(block) is not None

    def escape(match: re.Match[str], rows: bool) -> str:
        nonlocal mended
        said, body = match.group(0), match.group(1)
        if body == "\\":
            following = match.string[match.end() : match.end() + 1]
            if not rows or following.isalpha():
                return said
            mended += 1
            return said * 2
        if body in ('"', "/") or _UNICODE.fullmatch(body):
            return said
        if body == "'":
            mended += 1
            return "'"
        if body[0] in "bfnrt" and not _means_command(body, doubles):
            return said
        mended += 1
        return f"\\{said}"

    def string(match: re.Match[str]) -> str:
        text = match.group(0)
        rows = _ROWS.search(text) is not None
        return _ESCAPE.sub(lambda found: escape(found, rows), text)

    return _STRING.sub(string, block), mended


def _means_command(word: str, doubles: bool) -> bool:
    if word[0] in "bf":
        return len(word) > 1
    return word in _KNOWN[word[0]] and not (doubles and word in _ONE_LETTER)


def control_character(value: object) -> str | None:
    """Return the first character in a JSON value's texts that no text means, such as a backspace; None without one."""
    if isinstance(value, str):
        return next(iter(_CONTROL.findall(value)), None)
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return next((found for item in value if (found := control_character(item)) is not None), None)
    return None
