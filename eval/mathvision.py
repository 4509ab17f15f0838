r"""MATH-Vision (arXiv 2402.14804): 3,040 competition problems with figures, scored without an LLM.

mmreflect eval rescore mathvision responses=FILE.jsonl output=OUT.jsonl

The answer is found by a chain of replacements and compared with the option's letter or text, as strings, as tuples, or
by value to two decimals. The clean-up is blunt ("15 km" is "15", "0.5" is \frac{1}{2}) and kept as it is.

rule=vlmevalkit reads what is clear in the response itself and asks an LLM to extract the rest (judge.base_url=URL
judge.model=NAME); a row's `extraction` is taken, and without either a rule stands in, and the summary says so.
"""

import re
from collections.abc import Sequence
from typing import Any

from mmreflect.answers.extract import final_answer
from mmreflect.answers.grade import AnswerSpec
from mmreflect.evaluation.benchmark import (
    BadField,
    Benchmark,
    Column,
    Files,
    Item,
    Measure,
    Reading,
    Recorded,
    Response,
    Row,
    Scored,
    Source,
)
from mmreflect.evaluation.judge import Case, Judge, Question, Steps, after_label
from mmreflect.evaluation.rules.latex import same_value, value_of
from mmreflect.evaluation.rules.letters import vlmevalkit_letter
from mmreflect.evaluation.rules.tables import correct, groups
from mmreflect.evaluation.rules.verdicts import lettered, strict
from mmreflect.records import Turn

PROMPT = 'Please solve the problem step by step and put your answer in one "\\boxed{}".'
EXTRACT = """\
You are given a problem of mathematics and the response of a model to it. Copy the final answer that the response gives,
the letter where it has choices, and write nothing else. Do not solve the problem and do not correct the response. These
are examples.

Problem: How many of the tiles are black?
Model response: There are 3 rows with 4 black tiles each, so it must be 12 of them.
Extracted answer: 12

Problem: What is the ratio of the two areas?
Model response: Since the sides are as 1 to 2, we get \\frac{{1}}{{4}}.
Extracted answer: \\frac{{1}}{{4}}

Problem: Which angle is the largest?
Choices: A. the one at P
B. the one at Q
Model response: The side opposite to Q is the longest one, hence the angle at Q.
Extracted answer: B

Problem: {question}
Model response: {response}
Extracted answer: """
BY_RULE = "extracted by rule"
TOLERANCE = 1e-6
_FLAGS = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")
_BOX = re.compile(r"oxed{(.*)}", re.DOTALL)
_ROOT_ARGUMENT = re.compile(r"\\sqrt(?!\\sqrt)([^{])", re.DOTALL)


def item(row: Row, files: Files, style: str) -> Item:
    """Make a question: the picture, then the prompt, the question glued to it without a blank, and the choices."""
    text = f"{PROMPT}{_asked(row)}"
    name = str(row["id"])
    facts = {"id": name, **{key: row.get(key) for key in ("question", "options", "level", "subject")}}
    return Item(name, (Turn("user", [files.picture(row["decoded_image"], name), text]),), row.get("answer"), facts)


def _asked(row: Row) -> str:
    options = lettered(row["options"])
    listed = "\nChoices: " + "\n".join(f"{letter}. {option}" for letter, option in options.items())
    return f"{row['question']}{listed if options else ''}"


def extract(response: str) -> str:
    """Return the answer of a response, cleaned."""
    text = _shortened(response.strip())
    said = text.split("is ")[-1].rstrip(".")
    if _is_float(said):
        text = said
    if "oxed{" not in text:
        for flag in _FLAGS:
            for form in (flag, flag.replace("the", "The")):
                flagged = form in text
                text = text.split(form)[-1].strip()
                text = text.split("\n")[0].split(". ")[0] if flagged else text
    elif text.count("oxed{") > 1:
        text = "\\boxed{" + text.split("oxed{")[-1]
    answer = clean_formula(text)
    for opening, closing in ("()", "{}"):
        for letter in "abcde":
            answer = answer.replace(f"{opening}{letter}{closing}", letter)
    return answer.rstrip(".").lstrip(":").strip()


def _shortened(text: str) -> str:
    """Replace a text that ends with " X." or begins with "X" and a new line by the letter."""
    for letter in "ABCDE":
        ends = text.endswith((f" {letter}.", f" ({letter})."))
        if ends or text.startswith((f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")):
            text = letter
    return text


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def clean_formula(text: str) -> str:
    """Return the content of the box, or the text, with everything removed that the script removes."""
    text = text.lower().replace("{}", "")
    if boxed := _BOX.findall(text):
        text = boxed[-1]
    opening, closing = text.find("{"), text.find("}")
    if closing >= 0 and (opening < 0 or closing < opening):
        text = text.split("}")[0]
    text = text.split("=")[-1].split("\\approx")[-1]
    for old, new in (
        *((" ", ""), ("\\,", ""), ("∞", "\\infty"), ("+\\infty", "\\infty"), ("\\\\", "\\"), ("\n", "")),
        *(("\\text", ""), ("\\mbox", ""), ("bmatrix", "pmatrix"), ("\\left", ""), ("\\right", "")),
        *(("^{\\circ}", ""), ("^\\circ", ""), ("{m}^3", ""), ("m^3", ""), ("{units}", ""), ("units", "")),
        *(("{km}", ""), ("km", "")),
    ):
        text = text.replace(old, new)
    return _stripped(text)


def _stripped(text: str) -> str:
    """The second pass, on a text that the first one left."""
    for old, new in (
        *(("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", "")),
        *(("\\right", ""), ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""), ("$", "")),
    ):
        text = text.replace(old, new)
    text = text.split("\\text{ ")[0]
    for old, new in (("\\%", ""), (" .", " 0."), ("{.", "{0.")):
        text = text.replace(old, new)
    if text.startswith("."):
        text = f"0{text}"
    for sign in ("=", "\\approx"):
        if text.count(sign) == 1:
            text = text.split(sign)[-1]
    if "sqrt" in text:
        text = _braced_fractions(_ROOT_ARGUMENT.sub(r"\\sqrt{\1}", text).replace(" ", ""))
    text = text.replace(" ", "")
    return "\\frac{1}{2}" if text == "0.5" else _slashed(text)


def _braced_fractions(text: str) -> str:
    r"""Put braces around the arguments of `\frac12`; a text that ends within one stays as it is."""
    head, *parts = text.split("\\frac")
    made = head
    for part in parts:
        made += "\\frac"
        if part.startswith("{"):
            made += part
        elif len(part) < 2:
            return text
        elif part[1] == "{":
            made += f"{{{part[0]}}}{part[1:]}"
        else:
            made += f"{{{part[0]}}}{{{part[1]}}}{part[2:]}"
    return made


def _slashed(text: str) -> str:
    parts = text.split("/")
    try:
        top, bottom = (int(part) for part in parts)
    except ValueError:
        return text
    return f"\\frac{{{top}}}{{{bottom}}}" if text == f"{top}/{bottom}" else text


def equal(given: str, wanted: str) -> bool:
    """Tell whether an answer is the reference: the same text, the same tuple, or the same value to two decimals."""
    given, wanted = given.lower(), wanted.lower()
    if not given.replace(" ", "") or not wanted.replace(" ", ""):
        return False
    if given.strip() == wanted.strip():
        return True
    given, wanted = _tuple(given), _tuple(wanted)
    return given == wanted or same_value(wanted, given, "math")


def _tuple(text: str) -> str:
    """Return "(2/4, 1)" with its elements evaluated and rounded; the text itself where one of them has no value."""
    elements = text[1:-1].split(",")
    if (text[0], text[-1]) not in (("(", ")"), ("[", "]")) or len(elements) < 2:
        return text
    made = []
    for element in elements:
        if "infty" in element or element in ("a", "-a"):
            made.append(element)
        elif (value := value_of(element, "math")) is None:
            return text
        else:
            made.append(str(round(value, 2)))
    return f"{text[0]}{','.join(made)}{text[-1]}"


def _references(row: Row) -> tuple[str | None, str]:
    """Return the reference answer, and the text of that option."""
    answer, options = row.get("answer"), lettered(row["options"])
    if answer in (None, ""):
        return None, ""
    letter = str(answer)
    if not options:
        return letter, ""
    if letter not in options:
        raise BadField(f"answer is {answer!r} with {len(options)} options")
    return letter, options[letter]


def official(row: Row, response: Response) -> Reading:
    """The repository's extraction and equality; lmms-eval's standard task has the same."""
    answer = extract(response.final)
    letter, text = _references(row)
    verdict = None if letter is None else equal(answer, letter) or equal(answer, text)
    return Reading(answer, verdict, parsed=bool(answer))


def _clear(row: Row, text: str) -> str | None:
    """Return the letter that a text names; without options the text itself, where it is the reference."""
    if options := lettered(row["options"]):
        return vlmevalkit_letter(text, options)
    return text if _close(text, str(row.get("answer"))) else None


def _close(given: str, wanted: str) -> bool:
    """Tell whether two answers are the same text, or the same value but for a millionth."""
    if given.strip() == wanted.strip():
        return True
    one, two = value_of(given, "sympy"), value_of(wanted, "sympy")
    try:
        return one is not None and two is not None and abs(one - two) < TOLERANCE
    except OverflowError:  # a whole number that no float can hold, and another one that is none
        return False


def vlmevalkit(row: Row, response: Response) -> Reading:
    """VLMEvalKit's: what is clear in the response, then the extraction; letters by inference, values to a millionth."""
    gold, recorded = _gold(row), row.get("extraction")
    if not response.final.strip():
        return Reading(None, None if gold is None else False, parsed=False, how="empty response")
    if (answer := _clear(row, response.final)) is not None:
        return Reading(answer, None if gold is None else _close(answer, gold), how="the response itself")
    by_rule = recorded is None
    found = final_answer(response.final, _spec(row).resolved(gold)) if by_rule else str(recorded)
    if lettered(row["options"]):
        answer = None if found is None else vlmevalkit_letter(found, lettered(row["options"]))
    else:
        answer = found
    verdict = None if gold is None else answer is not None and _close(answer, gold)
    how = BY_RULE if by_rule else "recorded extraction"
    return Reading(answer, verdict, parsed=answer is not None, how=how, approximate=by_rule)


def ask(cases: Sequence[Case]) -> Steps:
    """Ask for the answer of a response that is not clear itself."""
    [case] = cases
    row, text = case.row, case.response.final
    if row.get("extraction") is not None or not text.strip() or _clear(row, text) is not None:
        return [{}]
    found = yield Question(EXTRACT.format(question=_asked(row), response=text), after_label("Extracted answer:"))
    return [{"extraction": found}]


def _spec(row: Row) -> AnswerSpec:
    options = lettered(row["options"])
    return AnswerSpec("multiple_choice", tuple(options.items())) if options else AnswerSpec()


def _gold(row: Row) -> str | None:
    return None if row.get("answer") in (None, "") else str(row["answer"])


def _share(rows: Sequence[Scored]) -> str:
    return f"{correct(rows)}/{len(rows)}={round(100 * correct(rows) / len(rows), 2)}%" if rows else "0/0"


def breakdown(rows: Sequence[Scored]) -> dict[str, Any]:
    """Return overall, by level, by subject, and by both, as "correct/total=percent"."""
    subjects = dict(sorted(groups(rows, "subject").items()))
    levels = {f"level{name}": found for name, found in sorted(groups(rows, "level").items())}
    return {
        "overall": _share(rows),
        "level": {name: _share(found) for name, found in levels.items()},
        "subject": {name: _share(found) for name, found in subjects.items()},
        "subject_level": {
            name: {f"level{level}": _share(part) for level, part in sorted(groups(found, "level").items())}
            for name, found in subjects.items()
        },
    }


BENCHMARK = Benchmark(
    name="mathvision",
    source=Source("MathLLMs/MathVision", splits=("test", "testmini")),
    columns=(
        Column("id", "text"),
        Column("question", "text"),
        Column("options", "list"),
        Column("decoded_image", "picture"),
        Column("answer", "text"),
        Column("level", "integer"),
        Column("subject", "text"),
    ),
    item=item,
    rules={
        "official": official,
        "lmms_eval": official,
        "vlmevalkit": vlmevalkit,
        "strict": strict(_spec, _gold),
    },
    breakdown=breakdown,
    recorded=Recorded(id=("id",)),
    approximate="answers were extracted by rule where VLMEvalKit asks an LLM",
    judge=Judge({"extract": EXTRACT}, {"vlmevalkit": ask}),
    facets=("level", "subject"),
    measures={"overall": Measure(scale=100)},
)
