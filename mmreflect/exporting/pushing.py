"""To the Hub: a finished folder, as it is."""

import re
from pathlib import Path

from mmreflect.errors import UserError


def check_name(name: str) -> str:
    """Return a repository's name.

    Raises:
        UserError: it is not OWNER/NAME.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"push={name} is no name on the Hub", "OWNER/NAME", "correct it")
    return name


def push_model(folder: Path, name: str, private: bool) -> str:
    """Upload a folder as a model repository, made where it is missing, and return its address.

    Large files that are there already are not sent again. The token is the one that `hf auth login` keeps, or HF_TOKEN.

    Raises:
        UserError: the Hub cannot be reached, or refuses; the folder is whole, and can be pushed again.
    """
    from httpx import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi(library_name="mmreflect")
    try:
        address = api.create_repo(name, repo_type="model", private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=name, repo_type="model", commit_message="Upload by mmreflect")
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, HTTPError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{folder} was not pushed to {name}: {first}",
            "a reachable Hub, and a token that may write there (hf auth login)",
            f"the checkpoint itself is whole; push it again: mmreflect export {folder} push={name}",
        ) from None
    return str(address)
