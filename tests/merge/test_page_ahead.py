"""The second process that writes a merge's page: the same page, no trace of it where it fails, and no life of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small import models, recipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is one on Linux only")
READY = """
import os, sys
from mmreflect.cli import main
from mmreflect.report import ahead
os.cpu_count = lambda: 2
ahead.get_ready()
other = ahead._writer._process
"""
MERGE = """
code = main(sys.argv[1:])
print(code, "mmreflect.report.page" in sys.modules, os.path.exists(f"/proc/{other}"))
"""


@pytest.fixture
def config(tmp_path):
    root = models(tmp_path)
    (tmp_path / "merge.json").write_text(json.dumps(recipe(root, device="cpu", reload=False)))
    return tmp_path / "merge.json"


def run(script, *words):
    return subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, timeout=120)


def page(config):
    return (config.parent / "out" / "index.html").read_bytes()


def seen_again(config):
    """Write the page anew, in one process."""
    before = page(config)
    run("from mmreflect.cli import main; import sys; main(sys.argv[1:])", "view", config.parent / "out")
    return before, page(config)


def test_the_page_is_the_same_and_made_by_the_other_process(config):
    done = run(READY + MERGE, "merge", config)
    assert done.stdout.splitlines()[-1] == "0 False False", done.stderr
    before, after = seen_again(config)
    assert before == after and b"<svg" in before


def test_the_command_itself_has_one(config):
    script = """
import os, sys
from mmreflect import cli
from mmreflect.report import ahead
cores = int(sys.argv.pop())
os.cpu_count = lambda: cores
run, cli.main = cli.main, lambda: print("ready", ahead._writer is not None) or run()
cli.entry()
"""
    for words, cores, ready in ((["merge", config], 2, True), (["merge", config], 1, False),
                                (["merge", config, "--plan"], 2, False), (["recipes"], 2, False)):  # fmt: skip
        done = run(script, *words, cores)
        assert f"ready {ready}" in done.stdout and done.returncode == 0, done.stderr


@pytest.mark.parametrize("moment", ["before", "while it waits"])
def test_when_it_is_killed_the_page_is_written_all_the_same(config, moment):
    wait = "" if moment == "before" else "import time; time.sleep(1.5); "
    kill = f"{wait}os.kill(other, 9)"
    done = run(f"{READY}\n{kill}\n{MERGE}", "merge", config)
    assert done.stdout.splitlines()[-1] == "0 True False", done.stderr
    assert b"<svg" in page(config) and "Traceback" not in done.stderr


def test_what_it_cannot_do_is_told_by_the_first_process(tmp_path):
    script = READY + "from pathlib import Path\nahead.write_page(Path(sys.argv[1]))"
    done = run(script, tmp_path)
    assert (
        done.stderr.splitlines()[-3].startswith("mmreflect.errors.UserError: ") and done.stderr.count("Traceback") == 1
    )
    assert str(tmp_path) in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_ends_with_the_first_process_and_says_nothing(number):
    heard = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # what nohup starts is deaf to it
    )
    script = heard + READY + "print(other, flush=True)\nimport time\ntime.sleep(60)"
    first = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    other = int(first.stdout.readline())
    time.sleep(0.05)
    (os.killpg if number == signal.SIGINT else os.kill)(first.pid, number)  # a terminal interrupts both
    told = first.communicate(timeout=30)[1]
    assert told.count("Traceback") == (number == signal.SIGINT), told
    end = time.monotonic() + 30
    status = Path(f"/proc/{other}/status")
    while status.exists() and "State:\tZ" not in status.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_process_that_is_started_meanwhile_does_not_hold_it_up(config):
    start = "child = os.fork()\nif child == 0:\n    import time\n    time.sleep(60)\n    os._exit(0)"
    done = run(f"{READY}\n{start}\n{MERGE}\nos.kill(child, 9)", "merge", config)
    assert done.stdout.splitlines()[-1] == "0 False False", done.stderr


def test_there_is_none_beside_other_threads():
    script = """
import os, threading
from mmreflect.report import ahead
os.cpu_count = lambda: 2
held = threading.Event()
thread = threading.Thread(target=held.wait)
thread.start()
ahead.get_ready()
print(ahead._writer)
held.set()
"""
    assert run(script).stdout == "None\n"


def test_the_command_says_everything_and_ends_with_its_code(config, tmp_path):
    words = [sys.executable, "-m", "mmreflect", "merge", str(config)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith("model: ") and not done.stderr
    done = subprocess.run([*words, "method=no"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and not done.stdout
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*words, f"output={tmp_path / 'other'}"], stdout=full, stderr=subprocess.PIPE, timeout=120
        )
    assert done.returncode == 2 and b"disk is full" in done.stderr
