"""What is installed, what is missing, and how to get it."""

import importlib.util
import platform
import shutil
from pathlib import Path

from mmreflect import __version__, console, recipes
from mmreflect.packages import versions

REQUIRED = (
    "torch",
    "torchvision",
    "transformers",
    "trl",
    "accelerate",
    "peft",
    "datasets",
    "safetensors",
    "pydantic",
    "pillow",
    "math-verify",
)
OPTIONAL = {
    "av": ("video", "reading videos"),
    "decord": ("video", "reading videos where PyAV is missing"),
    "matplotlib": ("charts", "drawing charts"),
    "vllm": ("vllm", "fast rollouts on a GPU"),
    "flash-attn": ("flash-attn", "faster attention on a GPU"),
}


def doctor() -> None:
    """Print versions, devices, attention backends, video decoders, and what to install for what is missing."""
    console.show_plan(
        {
            "mmreflect": f"{__version__}, recipes from {recipes.root()}",
            "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
            **{name: version(name) or "[red]missing[/]: pip install mmreflect" for name in REQUIRED},
            **{name: _optional(name, *what) for name, what in OPTIONAL.items()},
            "devices": _devices(),
            "attention": _attention(),
            "video decoders": _decoders(),
            "disk": _disk(),
        }
    )


def version(package: str) -> str | None:
    """Return an installed package's version, or None."""
    return versions(package).get(package)


def _optional(name: str, extra: str, purpose: str) -> str:
    return version(name) or f"[yellow]not installed[/] ({purpose}): pip install 'mmreflect\\[{extra}]'"


def _devices() -> str:
    if importlib.util.find_spec("torch") is None:
        return "unknown without torch"
    import torch

    if not torch.cuda.is_available():
        return f"CPU, {torch.get_num_threads()} threads; no GPU that torch can use"
    gpus = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
    return ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus)


def _attention() -> str:
    if importlib.util.find_spec("transformers") is None:
        return "unknown without transformers"
    from mmreflect.models import ModelConfig, attention_backend

    return f"auto chooses {attention_backend(ModelConfig(path='tiny'))}; eager is always there"


def _decoders() -> str:
    found = [name for name in ("av", "decord", "torchcodec") if importlib.util.find_spec(name)]
    ffmpeg = "" if shutil.which("ffmpeg") else " (torchcodec also needs the system's FFmpeg libraries)"
    return (", ".join(found) or "[yellow]none[/]: pip install 'mmreflect\\[video]'") + (
        ffmpeg if "torchcodec" in found else ""
    )


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    return f"{free / 2**30:.0f} GiB free here"
