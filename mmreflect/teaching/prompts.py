"""The texts that a teacher is asked with: templates in files, versioned by their content.

A template is Jinja; `{{ question }}` is the sample's question with its pictures and clips in their places. A folder of
the user's own may hold templates that stand in for those of the same name.
"""

import functools
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
from jinja2.sandbox import SandboxedEnvironment

from mmreflect.errors import UserError, unknown_name
from mmreflect.evaluation.contract import hash_of
from mmreflect.records import Media, Message, Sample, Turn, content_parts

SUFFIX = ".jinja"
_HERE = "\ufffc"
"""Stands for a medium while a template is filled in."""

_ENVIRONMENT = SandboxedEnvironment(
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
)


class Prompts:
    """The templates of one builder.

    Args:
        folder: those that the builder brings.
        own: a folder of the user's.

    Raises:
        UserError: the user's folder is missing, or holds a template that the builder has not.
    """

    def __init__(self, folder: Path, own: str | None = None) -> None:
        self._texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob(f"*{SUFFIX}"))}
        self._given = {name: _variables(text, name) for name, text in self._texts.items()}
        self._where = {name: str(folder / f"{name}{SUFFIX}") for name in self._texts}
        for name, path in _own(own, list(self._texts)).items():
            self._texts[name], self._where[name] = path.read_text(encoding="utf-8"), str(path)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits over all templates."""
        return hash_of(self._texts)

    def check(self) -> None:
        """Check the templates without filling them in.

        Raises:
            UserError: one is no Jinja, or names something that the builder's own template does not.
        """
        for name, text in self._texts.items():
            for variable in sorted(_variables(text, self._where[name]) - self._given[name]):
                raise unknown_name(f"variable in {self._where[name]}", variable, sorted(self._given[name]))

    def text(self, name: str, **values: Any) -> str:
        """Fill in a template, without blanks at its ends.

        Raises:
            UserError: the template cannot be filled in.
        """
        try:
            return _compiled(self._texts[name]).render(**values).strip()
        except jinja2.TemplateError as error:
            raise UserError(f"{self._where[name]} cannot be filled in: {error}", "a Jinja template") from None

    def lines(self, name: str) -> list[str]:
        """Return the lines of a template that is a list."""
        return [line.strip() for line in self.text(name).splitlines() if line.strip()]

    def turn(self, name: str, sample: Sample, **values: Any) -> Turn:
        """Return a user's turn about a sample, its media where the question stands.

        Raises:
            UserError: the template shows the question not just once, or cannot be filled in.
        """
        filled = self.text(name, question=question_of(sample), **values)
        texts = filled.split(_HERE)
        if len(texts) != len(sample.media) + 1:
            raise UserError(
                f"{self._where[name]} shows {len(texts) - 1} pictures and clips of {len(sample.media)}",
                "{{ question }} just once",
                "correct the template",
            )
        content: list[str | Media] = [texts[0]]
        for medium, text in zip(sample.media, texts[1:], strict=True):
            content += [medium, text]
        return Turn("user", [part for part in content if part != ""])


def question_of(sample: Sample) -> str:
    """Return what is asked as one text, a character standing for each medium; system turns are left out."""
    turns = [
        "".join(
            part["text"].replace(_HERE, " ") if part["type"] == "text" else _HERE
            for part in content_parts(turn["content"])
        )
        for turn in sample.messages
        if turn["role"] != "system"
    ]
    return "\n\n".join(turns)


def asked_turns(sample: Sample, system: str) -> list[Turn]:
    """Return the sample's own turns after a system turn of ours, which takes the place of any other."""
    return [Turn("system", [system]), *(turn for turn in sample.turns() if turn.role != "system")]


def spoken(role: str, text: str) -> Message:
    """Return a turn of text alone, as rows hold it."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def taught(sample: Sample, system: str, response: str) -> list[Message]:
    """Return the conversation of a row: the sample's own turns as `asked_turns`, and the response to learn."""
    own = [turn for turn in sample.messages if turn["role"] != "system"]
    return [spoken("system", system), *own, spoken("assistant", response)]


def _own(folder: str | None, known: list[str]) -> dict[str, Path]:
    if folder is None:
        return {}
    if not Path(folder).is_dir():
        raise UserError(f"no such folder of prompts: {folder}", f"a folder with *{SUFFIX} files", "check the path")
    found = {path.stem: path for path in sorted(Path(folder).glob(f"*{SUFFIX}"))}
    for name in found:
        if name not in known:
            raise unknown_name(f"template in {folder}:", name, known)
    return found


def _variables(text: str, where: str) -> set[str]:
    try:
        return jinja2.meta.find_undeclared_variables(_ENVIRONMENT.parse(text))
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{where}, line {error.lineno}: {error.message}", "a Jinja template", "correct it") from None


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(text)
