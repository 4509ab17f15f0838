"""One picture, one question, from the terminal: the answer with its reflection set apart."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mmreflect import console
from mmreflect.config import apply_overrides, config, parse
from mmreflect.media.images import load_image
from mmreflect.models import ModelConfig, check_model
from mmreflect.records import Media, Sample
from mmreflect.reflection.ledger import entry

STYLES = {"think": "dim", "reflection": "magenta", "answer": "bold green"}


@config
class ChatConfig:
    """How the model speaks; `temperature` 0 is greedy."""

    max_new_tokens: Annotated[int, Field(gt=0)] = 1024
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int = 0


def chat(model: str, picture: str, question: str, overrides: Sequence[str] = ()) -> str:
    """Ask one question about one picture, print the answer in colours, and return its text.

    Raises:
        UserError: the picture or the model cannot be loaded, or an option is wrong.
    """
    options = parse(ChatConfig, apply_overrides({}, overrides), "chat")
    load_image(picture)
    check_model(ModelConfig(path=model))

    from mmreflect.data.rendering import Renderer
    from mmreflect.environments import single_turn
    from mmreflect.models import load_model
    from mmreflect.rollouts.actions import Sampling
    from mmreflect.rollouts.driver import roll_out
    from mmreflect.rollouts.engines._generation import TransformersEngine

    loaded = load_model(ModelConfig(path=model))
    engine = TransformersEngine(loaded, Renderer(loaded.tokenizer, loaded.processor), batch_size=1)
    content = [{"type": "image"}, {"type": "text", "text": question}]
    sample = Sample("chat", [{"role": "user", "content": content}], [Media("image", str(Path(picture).resolve()))])
    sampling = Sampling(options.temperature, options.top_p, 0, options.max_new_tokens)
    group = roll_out(engine, single_turn.create(single_turn.Config()), [sample], 1, sampling, options.seed)[0]
    rollout = group.rollouts[0]
    console.say(coloured(rollout.text))
    read = entry(rollout.text, None, len(rollout.token_ids))
    change = "no reflection" if not read.reflected else f"first {read.first}, final {read.final}"
    console.say(f"[dim]{change}; {console.count(len(rollout.token_ids), 'token')}, stopped by {rollout.stop}[/]")
    return rollout.text


def coloured(text: str) -> str:
    """Return the text as rich markup, a line per tagged block; markup in the text itself is shown, not obeyed."""
    from mmreflect.console import escape

    def block(match: re.Match[str]) -> str:
        style = STYLES[match.group(1)]
        return f"\n[{style}]{escape(match.group(0))}[/]"

    pieces = re.split(r"(<(?:think|reflection|answer)>.*?</(?:think|reflection|answer)>)", text, flags=re.DOTALL)
    pattern = re.compile(r"<(think|reflection|answer)>.*", re.DOTALL)
    shown = "".join(pattern.sub(block, piece) if pattern.fullmatch(piece) else escape(piece) for piece in pieces)
    return shown.strip("\n")
