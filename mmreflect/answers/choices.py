"""Multiple choice: which option an answer names, by letter, by letter and text, or by the option's text or value."""

import re
import unicodedata

from mmreflect.answers.markup import after_phrase, plain, tidy
from mmreflect.answers.quantities import linear, read_quantity, same_quantity
from mmreflect.answers.spec import LETTERS, AnswerSpec
from mmreflect.answers.values import constant, same_value
from mmreflect.answers.verdict import Verdict, judged, ungraded

Options = tuple[tuple[str, str], ...]

_LEADS = re.compile(
    r"^(?:(?:the|my|correct|best|final)\s+)*(?:answer|option|choice|letter)\s*[:=]?\s+(?=\S)", re.IGNORECASE
)
_ONE = re.compile(r"[(\[{<]*\s*([A-Za-z])\s*[)\]}>]*\s*[.:,;]?")
_HEAD = re.compile(
    r"(?:[(\[{<]\s*([A-Za-z])\s*[)\]}>]|([A-Za-z])\s*[).:\]]|([A-Z])\s*(?=[,;]|-\s|-$))\s*[-.:,;]*\s*(.*)", re.DOTALL
)
_SPACED = re.compile(r"([A-Za-z])\s+(\S.*)", re.DOTALL)
_ARTICLE_FOLLOWED = r"(?!\s+(?!(?:is|because|since|as|and|or|not|nor|but|for)\b)[A-Za-z0-9])"
_MENTION = re.compile(
    rf"[(\[]\s*([A-Za-z])\s*[)\]]|(?<![\w'’.\-])(?:([B-HJ-Z])(?![\w'’]|\.\w)|([A-Z])(?=[).:])|([AI])(?![\w'’]){_ARTICLE_FOLLOWED})"
)
_NAMED = re.compile(r"\b(?:option|choice|answer|letter)\s+[(\[]?([A-Za-z])\b[)\]]?", re.IGNORECASE)
_NEGATION = re.compile(
    r"(?:\bnot|n't|\bnor|\bneither|\binstead of|\brather than|\bthan|\bunlike|\bexcept|\beliminate[ds]?|\bexclude[ds]?"
    r"|\brule[ds]? out)\s+(?:option\s+|choice\s+|answer\s+|the\s+|an?\s+)?[(\[]?\s*$",
    re.IGNORECASE,
)
_DECISION = re.compile(
    r"\b(?:pick|choose|chose|select|go(?:ing)? with|opt for|conclude|so|thus|hence|therefore)\b[,:]?\s+(?:that\s+)?"
    r"(?:it(?:'s|\s+is)\s+)?(?:the\s+)?(?:option\s+|answer\s+|choice\s+)?[(\[]?([A-Za-z])[)\]]?"
    r"(?=[^\w'’]*$|[.,;:](?:\s|$)|\s+(?:because|since|as)\b)"
)
_ARTICLE = re.compile(r"^(?:the|an?)\s+")


def grade_choice(answer: str, gold: str, spec: AnswerSpec) -> Verdict:
    """Grade the option that an answer names against the reference option.

    The reference is a letter, a letter with its text, or an option's text. Two different options, a letter outside
    the options and no option at all are wrong. Options with the same text are the same option.
    """
    wanted = reference_option(gold, spec.options)
    if wanted is None:
        return ungraded(tidy(gold), "the reference is none of the options")
    named = named_options(answer, spec.options)
    if not named:
        return judged(False, tidy(answer), wanted, "no option letter")
    if len(named) > 1:
        return judged(False, ", ".join(sorted(named)), wanted, "several options")
    letter = next(iter(named))
    texts = dict(spec.options or ())
    twins = letter in texts and wanted in texts and _spaced(texts[letter]) == _spaced(texts[wanted])
    if letter == wanted or twins:
        return judged(True, letter, wanted, "same option")
    outside = bool(texts) and letter not in texts
    return judged(False, letter, wanted, "a letter outside the options" if outside else "another option")


def reference_option(gold: str, options: Options | None) -> str | None:
    """Return the letter of a reference ("B", "(B)", "B. text" or an option's text); None when it is no option."""
    text = tidy(gold)
    known = [letter for letter, _ in options] if options else list(LETTERS)
    if (match := _ONE.fullmatch(text)) and match.group(1).upper() in known:
        return match.group(1).upper()
    by_text = _by_text(text, options or ())
    if by_text:
        return min(by_text)
    match = _HEAD.fullmatch(text)
    letter = next((group for group in match.groups()[:3] if group), "").upper() if match else ""
    return letter if letter in known else None


def named_options(answer: str, options: Options | None) -> set[str]:
    """Return the letters of all options that an answer names; empty for none.

    A letter counts in any bracket, with a dot, in bold; a bare "A" or "I" inside a sentence is a word, and lower-case
    letters count only alone, in brackets, before a dot, or with their option's text. What is negated is not named.
    """
    text = tidy(answer if answer.isascii() else unicodedata.normalize("NFKC", answer))
    if match := _ONE.fullmatch(text):
        return {match.group(1).upper()}
    choices = options or ()
    if found := _by_text(text, choices):
        return found
    stripped = _LEADS.sub("", text)
    if stripped != text:
        return named_options(stripped, options)
    if (match := _SPACED.fullmatch(text)) and match.group(1).upper() in _by_text(match.group(2), choices):
        return {match.group(1).upper()}
    if match := _HEAD.fullmatch(text):
        letter = next(group for group in match.groups()[:3] if group).upper()
        return {letter} | _other_options(match.group(4), letter, choices)
    if (said := after_phrase(text)) and said != text:
        return named_options(said, options)
    if decisions := {letter.upper() for letter in _DECISION.findall(text)}:
        return decisions
    return _mentions(text) | _texts_inside(text, choices)


def _other_options(rest: str, letter: str, options: Options) -> set[str]:
    """Return what the text behind "B." names besides: nothing when it is B's own text."""
    if letter in _by_text(rest, options):
        return set()
    chosen = re.match(r"(?:and|or|/|&|\+)*\s*(?:option\s+)?[(\[]?([A-Z])[)\]]?(?=$|[\s.,;)])", rest)
    if chosen and not re.match(r"[AI]\s+[a-z]", rest):
        return {chosen.group(1)}
    return _by_text(rest, options) or {item for item in _either(rest) if item != letter}


def _either(rest: str) -> set[str]:
    """Return the letters joined to the first one by "or" or "and" at the beginning of the rest."""
    match = re.match(r"\s*(?:or|and|/|&)\s+(.*)", rest, re.DOTALL)
    return _mentions(match.group(1)) if match else set()


def _mentions(text: str) -> set[str]:
    found = set()
    for pattern in (_MENTION, _NAMED):
        for match in pattern.finditer(text):
            if not _NEGATION.search(text[: match.start()][-40:]):
                letter = next(group for group in match.groups() if group)
                if pattern is _NAMED and letter in "aI":
                    continue
                found.add(letter.upper())
    return found


def _by_text(text: str, options: Options) -> set[str]:
    """Return the options whose text or value this is: the exact ones, or else those of equal value."""
    wanted = plain(text)
    if not wanted or not options:
        return set()
    for form in (_spaced, plain):  # brackets distinguish "(1,2)" from "[1,2]" where both are options
        exact = {letter for letter, option in options if form(option) == form(text)}
        if exact:
            return exact
    bare = _ARTICLE.sub("", wanted)
    close = {letter for letter, option in options if _ARTICLE.sub("", plain(option)) == bare}
    return close or {letter for letter, option in options if _equal_value(text, option)}


def _spaced(text: str) -> str:
    return " ".join(tidy(text).casefold().split())


def _equal_value(text: str, option: str) -> bool:
    given, wanted = read_quantity(text), read_quantity(option)
    if given and wanted:
        return same_quantity(given, wanted)[0]
    if not any(char.isdigit() for char in text) or not any(char.isdigit() for char in option):
        return False
    one, other = constant(linear(text)), constant(linear(option))
    return one is not None and other is not None and same_value(one, other) is True


def _texts_inside(text: str, options: Options) -> set[str]:
    """Return the options whose text occurs as whole words, longer texts first, and nothing twice."""
    inside = plain(text)
    if "=" in inside:
        inside = inside.rpartition("=")[2]
    found: set[str] = set()
    for letter, option in sorted(options, key=lambda pair: -len(pair[1])):
        wanted = plain(option)
        if not wanted:
            continue
        pattern = re.compile(rf"(?<![\w.\-]){re.escape(wanted)}(?![\w\-]|\.\d)")
        for match in pattern.finditer(inside):
            if not _NEGATION.search(inside[: match.start()][-40:]):
                found.add(letter)
        inside = pattern.sub(" | ", inside)
    return found
