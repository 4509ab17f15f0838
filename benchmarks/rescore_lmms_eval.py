"""The peer of `rescore.py`, run by a Python that has lmms-eval: scores the files whose names come in on stdin.

A line of JSON answers each: seconds from reading the file to the aggregated score, and the verdicts. It imports nothing
of mmreflect. lmms-eval makes its judge's client at import, which wants a key, and asks it nothing for these rows.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENAI_API_KEY", "none")


def score(path: str, utils: Any) -> dict[str, Any]:
    """Score one file as lmms-eval does from recorded samples: each row's result, then the aggregation."""
    start = time.perf_counter()
    with open(path, encoding="utf-8") as file:
        docs = [json.loads(line) for line in file]
    results = [utils.mathvista_process_results(doc, [doc["response"]])["submission"] for doc in docs]
    verdicts = [bool(item["true_false"]) for item in results]
    accuracy = utils.mathvista_aggregate_results(results, None)
    return {"seconds": time.perf_counter() - start, "accuracy": accuracy, "verdicts": verdicts}


def main() -> None:
    """Serve until stdin ends."""
    answers, start = sys.stdout, time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        import lmms_eval
        from lmms_eval.tasks.mathvista import utils

        version = getattr(lmms_eval, "__version__", "") or _version()
        print(json.dumps({"version": version, "import_s": time.perf_counter() - start}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(score(line.strip(), utils)), file=answers, flush=True)


def _version() -> str:
    import importlib.metadata

    return importlib.metadata.version("lmms-eval")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(f"{Path(sys.argv[0]).name} reads its files' names from stdin; run benchmarks/rescore.py")
    main()
