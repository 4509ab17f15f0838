"""Speaking through vLLM: what the engine `vllm` runs on. What is verified stands in `vllm.py`.

An `LLM` takes collapsed ids and media, and what it expands them to is compared with our own ids. A server takes
expanded ids and visual features that it made itself.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmreflect.data.rendering import Renderer
from mmreflect.errors import UserError
from mmreflect.media.images import load_media_image
from mmreflect.media.video import Clip
from mmreflect.models import Loaded
from mmreflect.records import Media, Reply, Stop
from mmreflect.rollouts.actions import Request, Sampling
from mmreflect.rollouts.engines._generation import TransformersEngine
from mmreflect.rollouts.engines._placeholders import Placeholders, Prompt
from mmreflect.rollouts.engines.vllm import CAPABILITIES, Config

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True, slots=True)
class Answer:
    """What vLLM gave back: the prompt as it understood it, and the new tokens."""

    prompt_ids: list[int]
    token_ids: list[int]


class Speaker(Protocol):
    """One way to reach vLLM."""

    max_model_length: int

    def speak(self, prompts: Sequence[Prompt], settings: Sequence[dict[str, Any]]) -> list[Answer]:
        """Return one answer per prompt, in order; `settings` are fields of vLLM's `SamplingParams`."""

    def wake(self) -> None:
        """Get ready to speak; called right after the weights were sent."""

    def sleep(self) -> None:
        """Give memory back until the next `wake`."""


class VLLMEngine(TransformersEngine):
    """Speaks through vLLM with the weights of the attached model; renders text and media as its parent does.

    A trainer calls `attach` once; without one, the first round attaches the loaded model. Every generation is inside of
    a `round`, which all processes enter and leave together.
    """

    capabilities = CAPABILITIES

    def __init__(self, options: Config, loaded: Loaded, renderer: Renderer) -> None:
        super().__init__(loaded, renderer, batch_size=1)
        self.options = options
        self._placeholders = Placeholders(renderer)
        self._bad_words = self._suppressed_words()
        self._generation: Any = None
        self._accelerator: Accelerator | None = None
        self._speaker: Speaker | None = None
        self._synced: int | None = None
        self._depth = 0

    # ---- life --------------------------------------------------------------------------------------------------

    def attach(self, model: Any, accelerator: "Accelerator") -> None:
        """Start vLLM, or meet the server, for this model. A collective call.

        Args:
            model: what is trained, adapters included, not yet wrapped for several GPUs.

        Raises:
            UserError: the model has no folder that vLLM could load; the server does not answer or cannot take weights.
        """
        if not getattr(model, "name_or_path", ""):
            raise UserError(
                "vLLM loads a model by its path, and this one was built in memory (model: tiny, or part: decoder)",
                "a model folder or Hub name",
                "save it first, or set rollout.engine to transformers",
            )
        self._accelerator = accelerator
        self._generation = _start(self.options, model, accelerator, self.renderer)
        self._speaker = _speaker(self.options, self._generation, self.renderer)

    @contextmanager
    def round(self, step: int) -> Iterator[None]:
        """Send the weights of an optimizer step if vLLM does not have them; afterwards let it sleep.

        A collective call. Rounds may be nested; weights move and vLLM sleeps only at the ends of the outermost.
        """
        if self._depth == 0:
            self._wake(step)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth == 0 and self.options.enable_sleep_mode and self._speaker is not None:
                self._speaker.sleep()
                self._synced = None

    def _wake(self, step: int) -> None:
        if self._speaker is None or self._accelerator is None:
            from accelerate import Accelerator

            self.attach(self.loaded.model, Accelerator())
        assert self._speaker is not None and self._accelerator is not None
        # Without the two barriers a process could still be asking, or ask already, while another sends weights.
        self._accelerator.wait_for_everyone()
        if self._synced != step:
            self._generation.sync_weights()
            self._speaker.wake()
            self._synced = step
        self._accelerator.wait_for_everyone()

    # ---- speech ------------------------------------------------------------------------------------------------

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """Return one reply per request, in order.

        Raises:
            UserError: a request does not fit into the model's length, or vLLM understood its prompt differently.
        """
        if self._speaker is None or self._depth == 0:
            raise RuntimeError("the engine vllm speaks only inside of a round")
        if not requests:
            return []
        prompts = [self._placeholders.prompt(request) for request in requests]
        for request, prompt in zip(requests, prompts, strict=True):
            _check_length(request, prompt, self._speaker.max_model_length)
        settings = [self._settings(request, sampling) for request in requests]
        answers = self._speaker.speak(prompts, settings)
        return [
            self._reply_of(request, prompt, answer)
            for request, prompt, answer in zip(requests, prompts, answers, strict=True)
        ]

    def _settings(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        """Return fields of `SamplingParams`; seeds there are signed 64-bit numbers, and -1 means none."""
        return {
            "n": 1,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": request.max_new_tokens,
            "seed": request.seed % 2**63,
            "stop_token_ids": sorted(self.end_ids),
            "bad_words": self._bad_words,
        }

    def _suppressed_words(self) -> list[str]:
        """Return the texts of the ids that only media may use.

        `bad_words` sets their logits to minus infinity; `logit_bias` is cut to -100 by vLLM's server.
        """
        tokenizer = self.renderer.tokenizer
        words = [str(tokenizer.convert_ids_to_tokens(token)) for token in self._suppressed]
        for token, word in zip(self._suppressed, words, strict=True):
            if tokenizer(word, add_special_tokens=False)["input_ids"] != [token]:
                raise RuntimeError(f"the tokenizer does not read {word!r} back as its id {token}")
        return words

    def _reply_of(self, request: Request, prompt: Prompt, answer: Answer) -> Reply:
        if answer.prompt_ids != prompt.token_ids:
            raise UserError(
                f"vLLM read the prompt of sample {request.sample_id!r} as {len(answer.prompt_ids)} tokens, "
                f"training as {len(prompt.token_ids)}: its processor treats the media differently",
                "the same tokens on both sides",
                "leave data.min_pixels and data.max_pixels out, or use rollout.engine transformers",
            )
        ids = list(answer.token_ids)
        ended = bool(ids) and ids[-1] in self.end_ids
        early = [token for token in ids[:-1] if token in self.end_ids]
        if early or set(ids) & set(self._suppressed) or not (ended or len(ids) == request.max_new_tokens):
            raise RuntimeError(
                f"vLLM's reply to sample {request.sample_id!r} breaks the contract: {len(ids)} of at most "
                f"{request.max_new_tokens} tokens, last {ids[-1:]}, end tokens {sorted(self.end_ids)}"
            )
        return Reply(self.detokenize(ids), ids, Stop.EOS if ended else Stop.LENGTH)


def _check_length(request: Request, prompt: Prompt, limit: int) -> None:
    needed = len(prompt.token_ids) + request.max_new_tokens
    if needed > limit:
        raise UserError(
            f"sample {request.sample_id!r} needs {len(prompt.token_ids)} tokens and {request.max_new_tokens} new ones, "
            f"{needed} in all, but vLLM was started for {limit}",
            f"at most {limit}",
            "raise rollout.engine.max_model_length, lower trainer.max_completion_length, or drop long prompts",
        )


# ---- the two ways to vLLM --------------------------------------------------------------------------------------


def _start(options: Config, model: Any, accelerator: "Accelerator", renderer: Renderer) -> Any:
    """Return TRL's generation module, which starts a colocated vLLM or joins a server's weight group."""
    from trl.generation.vllm_generation import VLLMGeneration

    try:
        return VLLMGeneration(
            model=model,
            accelerator=accelerator,
            processing_class=renderer.processor or renderer.tokenizer,
            mode=options.mode,
            server_base_url=options.address,
            server_timeout=options.server_timeout,
            group_port=options.group_port,
            tensor_parallel_size=options.tensor_parallel_size,
            gpu_memory_utilization=options.gpu_memory_utilization,
            max_model_length=options.max_model_length,
            max_num_seqs=options.max_num_seqs,
            enable_sleep_mode=options.enable_sleep_mode,
            model_impl=options.model_impl,
        )
    except OSError as error:
        if options.mode != "server":
            raise
        raise UserError(
            f"no vLLM server answers at {options.address} ({error})",
            "a running server",
            f"VLLM_SERVER_DEV_MODE=1 vllm serve {model.name_or_path} "
            """--weight-transfer-config '{"backend": "nccl"}', or raise rollout.engine.server_timeout""",
        ) from None
    except RuntimeError as error:
        if "Restart it with" not in str(error):
            raise
        raise UserError(str(error), "a server that takes weights", "restart it as said") from None


def _speaker(options: Config, generation: Any, renderer: Renderer) -> Speaker:
    if options.mode == "colocate":
        return Colocated(generation.llm, renderer, options.enable_sleep_mode)
    from trl.generation.vllm_client import VLLMClient

    # TRL gives only the main process a client and gathers all prompts there: processes whose rollouts take different
    # numbers of turns would wait for each other for ever. So each process asks for itself.
    client = getattr(generation, "vllm_client", None)
    if client is None:
        client = VLLMClient(base_url=options.address, connection_timeout=options.server_timeout)
    return Server(client, options.server_concurrency)


class Colocated:
    """A vLLM in this process."""

    def __init__(self, llm: Any, renderer: Renderer, sleeps: bool) -> None:
        self.llm, self.renderer, self._sleeps = llm, renderer, sleeps
        self.max_model_length = int(llm.llm_engine.model_config.max_model_len)

    def speak(self, prompts: Sequence[Prompt], settings: Sequence[dict[str, Any]]) -> list[Answer]:
        """Return one answer per prompt; every medium is loaded once for all prompts that show it."""
        from vllm import SamplingParams  # type: ignore[import-not-found, unused-ignore]

        loaded = {item: self._load(item) for prompt in prompts for item in prompt.media}
        outputs = self.llm.generate(
            [self._inputs(prompt, loaded) for prompt in prompts],
            sampling_params=[SamplingParams(**item, detokenize=False) for item in settings],
            use_tqdm=False,
        )
        return [Answer(list(item.prompt_token_ids), list(item.outputs[0].token_ids)) for item in outputs]

    def wake(self) -> None:
        """Take the memory of the key-value cache back; sending the weights has woken them."""
        if self._sleeps:
            self.llm.wake_up(tags=["kv_cache"])

    def sleep(self) -> None:
        """Drop weights and cache; the next round sends the weights again."""
        self.llm.sleep(level=2)

    def _load(self, media: Media) -> Any:
        loaded = self.renderer.pixels.load([media])[media]
        if not isinstance(loaded, Clip):
            return loaded
        return loaded.frames_FHWC, {**loaded.metadata(), "do_sample_frames": False}

    def _inputs(self, prompt: Prompt, loaded: dict[Media, Any]) -> dict[str, Any]:
        """Return vLLM's `TokensPrompt`."""
        if not prompt.media:
            return {"prompt_token_ids": prompt.collapsed}
        data: dict[str, list[Any]] = {}
        options: dict[str, Any] = {}
        for item in prompt.media:
            data.setdefault(item.kind, []).append(loaded[item])
        if "image" in data:
            options |= self.renderer.image_limits
        if "video" in data:
            options["do_sample_frames"] = False
            options |= self._frame_rate(prompt, data["video"])
        inputs = {"prompt_token_ids": prompt.collapsed, "multi_modal_data": data}
        return inputs | ({"mm_processor_kwargs": options} if options else {})

    def _frame_rate(self, prompt: Prompt, clips: list[Any]) -> dict[str, float]:
        """Return `fps` where positions depend on it (Qwen2.5-VL); it is one number for all videos of a prompt."""
        video = next(item for item in prompt.media if item.kind == "video")
        if "second_per_grid_ts" not in self.renderer.features([video])[0]:
            return {}
        rates = {float(metadata["fps"]) for _, metadata in clips}
        if len(rates) > 1:
            raise UserError(
                f"one prompt shows videos at {', '.join(f'{rate:g}' for rate in sorted(rates))} frames per second",
                "one frame rate per prompt: vLLM takes one for all videos of Qwen2.5-VL",
                "show clips of equal length, or use rollout.engine transformers",
            )
        return {"fps": rates.pop()}


class Server:
    """A vLLM behind TRL's client; one request at a time of many, since seeds and limits differ."""

    def __init__(self, client: Any, concurrency: int) -> None:
        self.client, self._concurrency = client, concurrency
        self.max_model_length = int(client.get_server_info()["model_config"]["max_model_len"])

    def speak(self, prompts: Sequence[Prompt], settings: Sequence[dict[str, Any]]) -> list[Answer]:
        """Return one answer per prompt; pictures that prompts share are sent once."""
        shown = list(dict.fromkeys(prompt.media for prompt in prompts if prompt.media))
        _refuse_video(shown)
        pictures = [[load_media_image(item) for item in media] for media in shown]
        made = dict(zip(shown, self.client.image_features(pictures) if shown else [], strict=True))
        features = [_placed(made[prompt.media], prompt) if prompt.media else None for prompt in prompts]
        with ThreadPoolExecutor(min(self._concurrency, len(prompts))) as pool:
            return list(pool.map(self._ask, prompts, features, settings))

    def _ask(self, prompt: Prompt, features: dict[str, Any] | None, settings: dict[str, Any]) -> Answer:
        answer = self.client.generate(
            [prompt.token_ids],
            features=None if features is None else [features],
            logprobs=None,
            generation_kwargs=settings,
        )
        return Answer(list(answer["prompt_ids"][0]), list(answer["completion_ids"][0]))

    def wake(self) -> None:
        """Do nothing: a server is awake."""

    def sleep(self) -> None:
        """Do nothing: its memory is not ours."""


def _refuse_video(shown: Sequence[tuple[Media, ...]]) -> None:
    video = next((item for media in shown for item in media if item.kind == "video"), None)
    if video is not None:
        raise UserError(
            f"rollout.engine vllm with mode server was shown the video {video.path}",
            "pictures: TRL's client sends no video",
            "set rollout.engine.mode to colocate",
        )


def _placed(features: dict[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Point a server's features at the places of our pictures."""
    lengths = [int(item["length"]) for item in features["mm_placeholders"]["image"]]
    ours = [end - start for start, end in prompt.spans]
    if lengths != ours:
        raise UserError(
            f"the vLLM server turns the pictures into {lengths} tokens, training into {ours}",
            "the same processor on both sides",
            "start the server with --mm-processor-kwargs as data.min_pixels and data.max_pixels say",
        )
    places = [{"offset": start, "length": end - start} for start, end in prompt.spans]
    return {**features, "mm_placeholders": {**features["mm_placeholders"], "image": places}}
