"""The update on rollouts that were shown something in the middle, or went on afresh."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmreflect.data.rendering import Renderer
from mmreflect.environments import single_turn
from mmreflect.models import ModelConfig, load_model
from mmreflect.records import Author, FrameSampling, Media, Restart, Rollout, Sample, Turn
from mmreflect.rl.advantages import group_mean
from mmreflect.rl.rows import Row, pack_rows, pieces_of, unpack_rows
from mmreflect.rl.selections import none
from mmreflect.rollouts.actions import Sampling
from mmreflect.rollouts.engines._generation import TransformersEngine
from mmreflect.rollouts.scoring import Scorer

SMALL = FrameSampling(fps=2, min_tokens=1, max_tokens=4, timestamps=True)


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def trainer(
    request: pytest.FixtureRequest,
    tiny_model: Callable[[str], Path],
    clip: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    from trl import GRPOConfig

    from mmreflect.rl.trainer import Method, ReflectGRPOTrainer

    loaded = load_model(ModelConfig(path=str(tiny_model(request.param))))
    renderer = Renderer(loaded.tokenizer, loaded.processor)
    method = Method(
        TransformersEngine(loaded, renderer, 8), single_turn.create(single_turn.Config()), Scorer({}),
        group_mean.create(group_mean.Config()), none.create(none.Config()), Sampling(max_new_tokens=8),
    )  # fmt: skip
    arguments = GRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("trainer")), per_device_train_batch_size=2, num_generations=2, steps_per_generation=1,
        max_completion_length=8, loss_type="dapo", use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
        scale_rewards="none", beta=0.0,
    )  # fmt: skip
    film = Media("video", str(clip), frames=SMALL)
    samples = [
        Sample(name, [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "How many?"}]}], [film])
        for name in "ab"
    ]
    made = ReflectGRPOTrainer(loaded, renderer, samples, method, arguments)
    made.current_gradient_accumulation_steps = 1
    return made


def two_turns(trainer: Any, afresh: bool = False) -> Row:
    """Two model tokens, a clip shown again, three model tokens."""
    sample, engine = trainer.samples[0], trainer.method.engine
    rollout = Rollout(sample.id, engine.encode([sample.turns()])[0], media=list(sample.media))
    rollout.append([65, 66, engine.end_id], Author.MODEL, "propose")
    dense = replace(sample.media[0], span=(0.0, 2.0))
    turn = Turn("user", [dense, "look again"])
    if afresh:
        rollout.restarts.append(Restart(3, engine.encode([[turn]])[0], 1))
    else:
        rollout.append(engine.encode_turn(turn), Author.ENVIRONMENT, "revise")
    rollout.media.append(dense)
    rollout.append([67, 68, engine.end_id], Author.MODEL, "revise")
    return Row(sample, rollout, rollout.author_mask(Author.MODEL).astype(np.float32))


def loss_of(trainer: Any, *rows: Row) -> torch.Tensor:
    trainer._window = [list(rows)]
    trainer.model.train()
    trainer.model.zero_grad()
    loss: torch.Tensor = trainer.compute_loss(trainer.model, trainer._collate(0))
    return loss


def test_the_gradient_on_what_was_shown_is_exactly_zero(trainer: Any) -> None:
    row = two_turns(trainer)
    row.advantages_T[:] = 1.0  # even an advantage on shown tokens must not reach them
    kept: list[torch.Tensor] = []
    inner = trainer._get_per_token_logps_and_entropies

    def watched(*args: Any, **kwargs: Any) -> Any:
        logps_BT, entropies_BT, aux = inner(*args, **kwargs)
        logps_BT.retain_grad()
        kept.append(logps_BT)
        return logps_BT, entropies_BT, aux

    trainer._get_per_token_logps_and_entropies = watched
    try:
        loss_of(trainer, row).backward()
    finally:
        del trainer._get_per_token_logps_and_entropies
    assert kept[0].grad is not None
    gradient_T = kept[0].grad[0]
    own_T = torch.from_numpy(row.rollout.author_mask(Author.MODEL))
    assert own_T.sum() == 6 and (gradient_T[own_T] != 0).all()
    shown = gradient_T[~own_T]
    assert len(shown) > 10 and (shown == 0).all()


def test_a_rollout_that_went_on_afresh_is_two_sequences_of_one_row(trainer: Any) -> None:
    row = two_turns(trainer, afresh=True)
    first, second = pieces_of([row])
    assert first.token_ids[:2] == [65, 66] and second.token_ids[:2] == [67, 68]
    assert first.stretch.media == row.rollout.media[:1] and second.stretch.media == row.rollout.media[1:]
    loss = loss_of(trainer, row)
    assert float(loss) == pytest.approx(-1.0, abs=1e-6), "on policy: minus the mean advantage of the six tokens"
    whole = row.old_logps_T
    assert whole is not None and len(whole) == 6 and (whole != 0).all()
    alone = Rollout("a", list(second.stretch.prompt_ids), media=list(second.stretch.media))
    alone.append(second.token_ids, Author.MODEL, "revise")
    separate = Row(row.sample, alone, np.ones(3, np.float32))
    loss_of(trainer, separate)
    assert separate.old_logps_T == pytest.approx(whole[3:], abs=1e-5), "nothing of the first part is in view"


def test_stored_log_probs_come_back_piece_by_piece(trainer: Any) -> None:
    row, plain = two_turns(trainer, afresh=True), two_turns(trainer)
    loss_of(trainer, row, plain)
    assert row.old_logps_T is not None
    row.old_logps_T[3:] -= 0.31  # ratio e^0.31 = 1.363, clipped at 1.2
    expected = -(3 * 1.0 + 3 * 1.2 + 6 * 1.0) / 12
    assert float(loss_of(trainer, row, plain)) == pytest.approx(expected, abs=1e-4)


def test_restarts_survive_on_disk(trainer: Any) -> None:
    row = two_turns(trainer, afresh=True)
    records, arrays = pack_rows([row])
    assert unpack_rows(records, arrays)[0].rollout == row.rollout
