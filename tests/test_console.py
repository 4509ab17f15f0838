"""What is printed where no terminal is: what rich would show, without rich."""

import os
import random
import subprocess
import sys

import rich.markup
from rich.text import Text

from mmreflect import console

PARTS = ["a", " ", "[", "]", "\\", "[bold]", "[/]", "[yellow]", "[/yellow]", "[1, 2]", "[a/b]", ":warning:", "=", "漢"]
TEXTS = ["".join(random.Random(seed).choices(PARTS, k=seed % 9)) for seed in range(2000)]


def test_what_is_escaped_is_shown_as_it_is():
    for text in ["[x]", "a\\", "\\[x]", "\\\\[x]", "[0]", "[/]", "[]", "[[x]]", *TEXTS]:
        escaped = console.escape(text)
        assert escaped == rich.markup.escape(text)
        assert console.plain(escaped) == Text.from_markup(escaped, emoji=False).plain
    assert console.plain(console.escape("[bold]a[/] [1] \\[x]")) == "[bold]a[/] [1] \\[x]"


def test_tags_go_as_they_do_with_rich():
    compared = 0
    for text in TEXTS:
        try:
            expected = Text.from_markup(text, emoji=False).plain
        except rich.markup.MarkupError:  # an end without a beginning
            continue
        assert console.plain(text) == expected, text
        compared += "[" in text
    assert compared > 500


def test_lines_of_a_pipe_are_not_wrapped_and_columns_stand_below_each_other(capsys):
    path = "/data/" + "long/" * 60
    console.show_plan({"output": path, "a": "[bold]1[/]"})
    console.show_table("sizes", ("name", "rows"), [("漢字", "12"), ("plain", console.escape("[x]"))])
    assert capsys.readouterr().out == (f"output  {path}\na       1\nsizes\nname   rows\n漢字     12\nplain   [x]\n")


def printed(code, **more):
    variables = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    words = [sys.executable, "-c", f"import sys\nfrom mmreflect import console\n{code}"]
    return subprocess.run(words, capture_output=True, text=True, env=variables | more)


def test_rich_is_imported_only_where_its_colours_can_be_seen():
    code = "console.say('[red]no[/]')\nwith console.progress_bar('x', 2) as bar: bar.advance()\nprint('rich' in sys.modules)"
    assert printed(code).stdout == "no\nFalse\n"
    shown = printed("console.say('[red]no[/]')\nprint('rich' in sys.modules)", FORCE_COLOR="1").stdout
    assert "\x1b[31mno\x1b[0m" in shown and shown.endswith("True\n")
    assert printed(code, FORCE_COLOR="1", TTY_COMPATIBLE="0").stdout == "no\nFalse\n"


def test_who_reads_no_more_ends_the_command_without_a_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-c", "from mmreflect import console\nconsole.say('x')\nprint('on')"]
    ended = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert ended.returncode == 1 and ended.stderr == ""


def test_what_stands_in_for_standard_output_may_only_write(monkeypatch):
    class Tee:
        def __init__(self):
            self.text = ""

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", tee := Tee())
    console.say("[red]x[/]")
    assert tee.text == "x\n"
    monkeypatch.setattr(sys, "stdout", None)
    console.say("nobody hears it")
