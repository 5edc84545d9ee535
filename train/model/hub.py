"""Whether pretrained weights can be had: SAM3's are gated, so its licence must have been accepted by the user."""

from __future__ import annotations

import re
from pathlib import Path

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


def is_hub_id(weights: str) -> bool:
    """Whether ``weights`` means a model on the hub and not a file or folder here."""
    path = Path(weights)
    return not path.exists() and path.suffix not in (".pt", ".pth") and bool(HUB_ID.fullmatch(weights))


def access_problem(weights: str) -> str | None:
    """Why ``weights`` (see train/model/weights.py) cannot be read from here and what to do, None when they can be.

    Downloads nothing: of weights on the hub it asks whether they lie in the local cache, else whether this account
    may have them.
    """
    if Path(weights).exists():
        return None
    if not is_hub_id(weights):
        return f"no weights at {weights}: expected a folder, a .pt file or a hub id (owner/name)"
    # Imported here: it reads HF_HOME, HF_HUB_OFFLINE and HF_ENDPOINT when it is loaded.
    from huggingface_hub import auth_check, constants, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    repo, _, revision = weights.partition("@")
    if isinstance(try_to_load_from_cache(repo, "config.json", revision=revision or None), str):
        return None
    elsewhere = (
        f"On a machine with network run `hf download {repo}` with HF_HOME on a disk that this machine sees too, or "
        "set model.weights to the path of a download"
    )
    if constants.HF_HUB_OFFLINE:
        return (
            f"{weights} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set. {elsewhere}"
        )
    try:
        auth_check(repo)
    except GatedRepoError:
        return (
            f"{weights} is gated, and this account may not have it yet. Open https://huggingface.co/{repo}, read and "
            "accept its licence (of facebook/sam3: the SAM License) and wait for access; then `hf auth login` here, "
            "or set HF_TOKEN"
        )
    except RepositoryNotFoundError:
        return f"the hub has no {weights}, or not for this account: look at the name, then `hf auth login`"
    except Exception as error:  # no network, proxies: the client underneath raises many kinds
        return f"{weights} is not in the cache, and the hub cannot be asked ({error}). {elsewhere}"
    return None
