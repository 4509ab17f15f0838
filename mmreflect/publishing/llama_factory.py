"""The layout of LLaMA-Factory: `sharegpt` rows with flat text, and a dataset_info.json that names their columns.

Established from the README and the dataset_info.json of its data folder, and its converters. A row whose turns
do not alternate is skipped there with a warning; here it is left out and counted. Media paths are joined to
`media_dir`, which is `dataset_dir` unless it is set. Questions without a target are of no use to it.
"""

from pathlib import Path
from typing import Any

from mmreflect.data.store import Row
from mmreflect.files import write_json
from mmreflect.publishing.conversations import Conversation, Shape, Unfit, check_alternation, flat, last_reply
from mmreflect.publishing.layouts import Exported, Shelf, Source
from mmreflect.publishing.lines import media_kinds, write_lines

INFO = "dataset_info.json"
_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
_TAGS |= {"system_tag": "system"}


def write(source: Source, folder: Path, shelf: Shelf, name: str) -> Exported:
    """Write a JSONL file for every split, its media, and the entries of dataset_info.json.

    Args:
        name: what the dataset is called there; a split other than `train` is added to it.

    Raises:
        UserError: nothing can be written in this layout.
    """
    made = write_lines(source, folder, shelf, _row, "LLaMA-Factory")
    kinds = {split.name: media_kinds(split) for split in source.splits}
    called = {split: name if split == "train" else f"{name}_{split}" for split in made.rows}
    info = {called[split]: _entry(files[0], made.shapes[split], kinds[split]) for split, files in made.files.items()}
    write_json(folder / INFO, info)
    made.usage = ["In the YAML of LLaMA-Factory:", "", "```yaml", "dataset_dir: THIS FOLDER"]
    made.usage += [f"dataset: {called.get('train') or next(iter(info))}", "```"]
    return made


def _row(row: Conversation, shape: Shape, kinds: list[str]) -> Row:
    found: Row = {"id": row.id}
    if shape == "pairs":
        found["messages"] = flat(row.prompt)
        for side, turns in (("chosen", row.chosen), ("rejected", row.rejected)):
            found[side] = {"role": "assistant", "content": last_reply(turns)}
        check_alternation([*found["messages"], found["chosen"]])
        if found["messages"][-1]["role"] != "user":
            raise Unfit("user and assistant do not take turns")
    elif shape == "sft":
        found["messages"] = flat([*row.prompt, *row.chosen])
        check_alternation(found["messages"])
    else:
        raise Unfit("it has no target to learn")
    media = {"image": row.images, "video": row.videos}
    return found | {f"{kind}s": media[kind] for kind in kinds}


def _entry(file: str, shape: Shape, kinds: list[str]) -> dict[str, Any]:
    columns = {"messages": "messages"}
    if shape == "pairs":
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    columns |= {f"{kind}s": f"{kind}s" for kind in kinds}
    ranking = {"ranking": True} if shape == "pairs" else {}
    return {"file_name": file, "formatting": "sharegpt", **ranking, "columns": columns, "tags": _TAGS}
