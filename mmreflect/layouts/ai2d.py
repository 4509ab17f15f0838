"""AI2D: the folders `questions`, `images` and `abc_images` of its authors' archive, and `ai2d_test_ids.csv`.

A file questions/0.png.json: imageName, and questions, a mapping from the question's text to {questionId, answerTexts
(texts), correctAnswer (a place from 0), abcLabel}. A question with abcLabel is about letters that stand in the place of
the picture's labels: its picture is that of abc_images. The test split is by picture, a name without .png a line. By
loaders of others and rows that they quote; the files themselves could not be seen.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmreflect.config import config
from mmreflect.layouts import Dropped, Entry, Question, Release, UnaskedError, UnusableError, choice, converted
from mmreflect.layouts._files import Row, check_folder, check_keys, number_at, text_at, texts_at
from mmreflect.layouts._pictures import json_folder, listed_ids

NAME = "AI2D"


@config
class Config:
    """Where the release lies and what is asked for.

    Attributes:
        annotations: the folder questions.
        pictures: the folder images.
        letters: the folder abc_images; None leaves out the questions about letters.
        test_ids: ai2d_test_ids.csv, whose pictures are left out; None asks everything.
    """

    annotations: str
    pictures: str
    letters: str | None = None
    test_ids: str | None = None


def create(options: Config) -> Release:
    """Create the release."""

    def read() -> Iterator[Entry]:
        for folder in (options.pictures, options.letters):
            if folder is not None:
                check_folder(folder, "pictures")
        test = listed_ids(options.test_ids) if options.test_ids is not None else frozenset()
        files = json_folder(options.annotations, "*.json", ("imageName", "questions"), NAME)
        asked = [item for _, row in files for item in _asked(row).values() if isinstance(item, dict)]
        check_keys(asked, ("questionId", "answerTexts", "correctAnswer"), options.annotations, NAME)
        for file, row in files:
            picture = str(row.get("imageName") or "")
            if picture.removesuffix(".png") in test:
                yield Dropped(file.name, "of the test split", asked=False)
                continue
            yield from converted(
                (f"{file.name}: {text}"[:80], partial(_question, picture, text, item, options))
                for text, item in _asked(row).items()
            )

    return Release([name for name in (options.annotations, options.test_ids) if name is not None], read)


def _asked(row: Row) -> Row:
    questions = row.get("questions")
    return questions if isinstance(questions, dict) else {}


def _question(picture: str, text: str, item: Row, options: Config) -> Question:
    if not isinstance(item, dict):
        raise UnusableError("no mapping for the question")
    if not picture:
        raise UnusableError("no 'imageName'")
    letters = item.get("abcLabel") is True
    if letters and options.letters is None:
        raise UnaskedError("about letters in the picture")
    folder = options.letters if letters and options.letters is not None else options.pictures
    texts = texts_at(item, "answerTexts")
    return Question(
        id=f"ai2d-{text_at(item, 'questionId')}",
        text=text.strip(),
        source=NAME,
        pictures=(str(Path(folder) / picture),),
        options=texts,
        answer=choice(texts, int(number_at(item, "correctAnswer"))),
        answer_type="multiple_choice",
        details={"abc_label": letters},
    )
