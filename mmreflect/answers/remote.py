"""What goes to the workers: size caps first, then LaTeX, then the verdict of math-verify."""

import re
from fractions import Fraction

from mmreflect.answers import stats
from mmreflect.answers.formulas import MAX_DEPTH, MAX_LENGTH
from mmreflect.answers.quantities import MAX_DIGITS
from mmreflect.answers.verdict import Verdict, judged, ungraded
from mmreflect.answers.workers import POOL, WorkerFailedError, WorkerMissingError, WorkerTimeoutError

_MAX_EXPONENT_DIGITS = 3
_MAX_TOWER = 2

_COMMON = {
    **{"**": "^", "÷": "/", "°": r"^{\circ}", "ℝ": r"\mathbb{R}", "$": "", "<=": r"\le ", ">=": r"\ge ", "!=": r"\ne "},
    **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "±": r"\pm ", "→": r"\to ", "∞": r"\infty "},
    **{"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset "},
    **{"α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "θ": r"\theta ", "λ": r"\lambda ", "π": r"\pi "},
    **{"φ": r"\phi ", "ω": r"\omega "},
}
_FUNCTION = re.compile(
    r"(?<![\\a-zA-Z])(arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp|pi|infty)(?![a-z])"
)
_ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)|√\s*(?:\(([^()]*)\)|\{([^{}]*)\}|(\d+|[a-z]))")
_VALUE = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d{1,3})?")
_MIXED = re.compile(r"(?<![\d.])(\d{1,9})\s*\\frac\s*\{(\d{1,9})\}\s*\{(\d{1,9})\}")


class NotGradedError(Exception):
    """The machinery failed, not the answer; carries the verdict, and is never cached."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


def too_big(text: str) -> str | None:
    """Say why a formula is not sent anywhere: length, digits, exponents, powers of powers, depth of brackets."""
    if len(text) > MAX_LENGTH:
        return f"longer than {MAX_LENGTH} characters"
    if re.search(rf"\d{{{MAX_DIGITS + 1}}}", text):
        return f"a number of more than {MAX_DIGITS} digits"
    if re.search(rf"(?:\^|\*\*)[\s{{(]*-?\d{{{_MAX_EXPONENT_DIGITS + 1}}}|\d{{4}}\s*!|!\s*!", text):
        return "a huge power or factorial"
    if len(re.findall(r"\^|\*\*", text)) > _MAX_TOWER and re.search(r"(?:\^[\s{(]*[\w.]+[\s})]*){3}", text):
        return "a tower of powers"
    depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if depth > MAX_DEPTH:
            return f"brackets nested more than {MAX_DEPTH} deep"
    return None


def to_latex(text: str) -> str:
    """Turn a formula in the form of `quantities.linear`, plain or LaTeX, into LaTeX that math-verify parses."""
    text = _ROOT.sub(lambda match: r"\sqrt{" + next((part for part in match.groups() if part), "") + "}", text)
    for given, latex in _COMMON.items():
        text = text.replace(given, latex)
    text = _FUNCTION.sub(r"\\\1 ", text)
    text = _MIXED.sub(_unmix, text)
    text = re.sub(r"\^\s*\(([^()]*)\)", r"^{\1}", text)
    text = re.sub(r"\^\s*(-?\d{2,}|-\d)", r"^{\1}", text)
    return text.replace("*", r"\cdot ")


def _unmix(match: re.Match[str]) -> str:
    whole, top, bottom = (int(group) for group in match.groups())
    return rf"\frac{{{whole * bottom + top}}}{{{bottom}}}"


def compare_remotely(given: str, wanted: str) -> Verdict:
    """Let math-verify compare two formulas in the form of `linear`.

    What exceeds the caps or the time is wrong, and counted; a reference that does not parse is ungraded.

    Raises:
        NotGradedError: no worker starts here.
    """
    if reason := too_big(wanted):
        return ungraded(wanted[:80], f"the reference is too big: {reason}")
    if reason := too_big(given):
        stats.count(capped=1)
        return judged(False, given[:80], wanted, f"too big to compare: {reason}")
    reply = _ask(given, wanted)
    stage = reply["stage"]
    if stage in ("gold", "gold_unparsed"):
        return ungraded(wanted, "the reference does not parse", given)
    if reply.get("timeout"):
        return judged(False, given, wanted, "not compared within the time limit")
    if error := reply.get("error"):
        return judged(False, given, wanted, f"could not be compared: {error}")
    if stage == "answer_unparsed":
        return judged(False, given, wanted, "the answer does not parse")
    equal = bool(reply["equal"])
    return judged(equal, given, wanted, "equal expressions" if equal else "another expression")


def evaluate_remotely(text: str) -> Fraction | None:
    """Let math-verify evaluate a formula without variables; None where it has no real value.

    Raises:
        NotGradedError: no worker starts here.
    """
    if too_big(text):
        stats.count(capped=1)
        return None
    value = str(_ask(None, text).get("value"))
    # Fraction("1e99999999999") would compute for hours.
    return Fraction(value) if _VALUE.fullmatch(value) else None


def _ask(given: str | None, wanted: str) -> dict[str, object]:
    """Ask the pool and count what became of it; a worker that died or was killed reads as a reply of its own."""
    stats.count(sent=1)
    try:
        reply = POOL.ask(to_latex(wanted), None if given is None else to_latex(given))
    except WorkerTimeoutError:
        reply = {"stage": "verify", "timeout": True}
    except WorkerFailedError as error:
        reply = {"stage": "verify", "error": str(error)}
    except WorkerMissingError as error:
        stats.count(errors=1)
        raise NotGradedError(ungraded(wanted, str(error), given)) from error
    stats.count(timeouts=int(bool(reply.get("timeout"))), errors=int("error" in reply))
    return reply
