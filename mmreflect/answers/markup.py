"""Removing what carries no meaning: markup, wrappers, exotic blanks dashes; and the words that lead to an answer."""

import re
import unicodedata

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f\u3000\u2002\u2003", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad"),
        **dict.fromkeys("−‐‑‒–—―﹣－", "-"),
        **dict.fromkeys("“”„«»", '"'),
        **dict.fromkeys("‘’‚´", "'"),
    }
)
_WRAPPERS = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathit|mathsf|mathtt|operatorname|mbox|emph|boxed|fbox"
    r"|underline|bm|boldsymbol)\s*\{([^{}]*)\}"
)
_TAGS = re.compile(r"</?(?:answer|b|i|em|strong|sub|sup|p|br|u|span)\s*/?>|<\|[a-z_]+\|>", re.IGNORECASE)
_DELIMITERS = re.compile(r"\\[()\[\]]|\$\$?")
_UNWRAPPINGS = 12
_EDGES = "$*`\"'_# \t\r\n"

_PHRASE = re.compile(
    r"(?:\b(?:answer|option|choice|solution)\b(?:\s+(?:to|of|for)\s[^.:\n]{0,80}?)?\s*"
    r"(?:\b(?:is|are|was|would\s+be|should\s+be|must\s+be|will\s+be)\b|[:=：])\s*+:?|#{4})\s*+(?:\$\$|\\\[)?\s*+([^\n]+)",
    re.IGNORECASE,
)
OF_PART = re.compile(
    r"\b(?:part|step|first|second|third|fourth|sub\w*|half|previous|intermediate|each|every|other)\b|\([a-e\d]\)",
    re.IGNORECASE,
)
"""What an answer is of that is not the whole question's."""
# A sentence ends at a stop before a capital, but not after initials and short abbreviations: "B. A cat", "St. Louis".
_SENTENCE = re.compile(r"(?<!\b[A-Za-z])(?<!\b[A-Z][a-z])(?<=[^\s.!?])[.!?]++\s++(?=[\"'(*]*[A-Z])|(?<=[!?])\s+|\n+")


def straighten(text: str) -> str:
    """Replace exotic blanks, dashes and quotes by their plain forms, and drop invisible characters."""
    return text if text.isascii() else text.translate(_CHARACTERS)


def tidy(text: str) -> str:
    """Remove markup that carries no meaning: math dollars, text wrappers, bold, quotes, tags, a last full stop."""
    text = straighten(text).replace("**", "")
    if "<" in text:
        text = _TAGS.sub("", text)
    for _ in range(_UNWRAPPINGS):
        smaller = _WRAPPERS.sub(r"\1", text) if "\\" in text else text
        smaller = smaller.strip(_EDGES)
        if smaller.startswith(("\\(", "\\[")) and smaller.endswith(("\\)", "\\]")):
            smaller = smaller[2:-2]
        if smaller == text:
            break
        text = smaller
    return text[:-1].rstrip(_EDGES) if text.endswith((".", "。")) and not text.endswith("..") else text


def plain(text: str) -> str:
    """Return the form in which texts are compared: without case, outer punctuation, markup and repeated blanks."""
    text = unicodedata.normalize("NFKC", straighten(tidy(text)))
    if "$" in text or "\\" in text:
        text = _DELIMITERS.sub("", text)
        text = re.sub(r"\\[,;:! ]|~", " ", text)
    text = re.sub(r"(?<=\w)\s*:\s*(?=\w)", ":", text) if ":" in text else text
    return " ".join(straighten(text).casefold().split()).strip(" .,;:!?\"'()[]{}`*_")


def after_phrase(text: str) -> str | None:
    """Return what follows the last phrase such as "the answer is", to the end of its sentence; None without one.

    Of several in a line the first counts, as what follows often speaks about it ("this answer is reasonable"), unless
    it gives the answer to a part of the question.
    """
    found = [*_PHRASE.finditer(text.replace("**", "").replace("__", ""))][-1:]
    if not found:
        return None
    rest = found[0].group(1)
    while OF_PART.search(found[0].group()[: -len(rest)]) and (later := _PHRASE.search(rest)):
        found, rest = [later], later.group(1)
    said = sentences(rest)
    return (said[0].strip().rstrip(".").strip() or None) if said else None


def sentences(text: str) -> list[str]:
    """Split a text into its lines and sentences."""
    return [piece for piece in _SENTENCE.split(text) if piece.strip()]
