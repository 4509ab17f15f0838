"""The standard layout of ms-swift: `messages` with flat text, `images`, `videos`; pairs have `rejected_response`.

Established from the page Custom-dataset of its documentation and its preprocessors of datasets. The
gold answer stands as `solution`, which its GRPO hands on to the rewards. A relative path is read from the folder that
ms-swift is started in, so that it is started in the exported one.
"""

from pathlib import Path

from mmreflect.data.store import Row
from mmreflect.publishing.conversations import Conversation, Shape, Unfit, check_alternation, flat, last_reply
from mmreflect.publishing.layouts import Exported, Shelf, Source
from mmreflect.publishing.lines import write_lines

COMMANDS: dict[Shape, str] = {
    "sft": "swift sft",
    "pairs": "swift rlhf --rlhf_type dpo",
    "prompts": "swift rlhf --rlhf_type grpo",
}
"""What trains on a split of each shape."""


def write(source: Source, folder: Path, shelf: Shelf, name: str) -> Exported:
    """Write a JSONL file for every split, and its media.

    Args:
        name: not used: ms-swift names a dataset by its file.

    Raises:
        UserError: nothing can be written in this layout.
    """
    made = write_lines(source, folder, shelf, _row, "ms-swift")
    made.usage = ["Start ms-swift in this folder, as the media are named relative to it:", "", "```bash"]
    made.usage += [f"{COMMANDS[made.shapes[split]]} --dataset {files[0]} ..." for split, files in made.files.items()]
    made.usage.append("```")
    return made


def _row(row: Conversation, shape: Shape, kinds: list[str]) -> Row:
    found: Row = {"id": row.id}
    messages = flat([*row.prompt, *row.chosen]) if shape != "pairs" else flat(row.prompt)
    if shape == "pairs":
        won, lost = last_reply(row.chosen), last_reply(row.rejected)
        if won == lost:
            raise Unfit("both sides of the pair are the same")
        messages.append({"role": "assistant", "content": won})
        found |= {"messages": messages, "rejected_response": lost}
    else:
        found["messages"] = messages
    check_alternation(messages)
    if any(turn["role"] == "assistant" and not turn["content"] for turn in messages):
        raise Unfit("a reply is empty")
    if shape == "prompts" and messages[-1]["role"] != "user":
        raise Unfit("user and assistant do not take turns")
    if shape != "pairs":
        found["solution"] = row.answer
    media = {"image": row.images, "video": row.videos}
    return found | {f"{kind}s": media[kind] for kind in kinds}
