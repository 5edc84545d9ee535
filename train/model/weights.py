"""Build a model with random, Hugging Face or official weights; write it back in both formats.

==================  ====================================================================================
``weights``         what it is
==================  ====================================================================================
``None``            random numbers (seeded) in the architecture of ``preset``
a folder            ``config.json`` and ``model.safetensors`` (or shards), as ``transformers`` writes them
``owner/name[@r]``  the same (of revision r) on the Hugging Face hub, or in its cache (HF_HUB_OFFLINE=1)
a ``.pt`` file      official checkpoint, such as the released ``sam3.pt``; architecture of ``preset``
==================  ====================================================================================
"""

import json
import pickle
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import Sam3Config
from transformers.initialization import no_init_weights

from medshards.common.yamlfile import read_yaml
from medshards.train.model.diagnosis import cause, misfit, no_state_dict
from medshards.train.model.graph import Sam3Graph, set_drop_path
from medshards.train.model.hub import HUB_ID
from medshards.train.model.initialisation import initialise
from medshards.train.model.options import Regularisation
from medshards.train.model.state_dict import DETECTOR, from_official, official_name, to_official

ARCHITECTURES = Path(__file__).with_name("architectures.yaml")
OWN_CONCEPTS = "own_concepts.json"  # beside the weights of an export (train/run/card.py)
# The checkpoint on the hub is that of the video model; the image model lies under the first of these.
_VIDEO_DETECTOR = "detector_model."
_VIDEO_REST = ("tracker_model.", "tracker_neck.")


class WeightsError(ValueError):
    """Weights are absent, unreadable or do not fit the model; the message says which tensors."""


def presets() -> list[str]:
    """Names of the architectures that come with the project."""
    return list(read_yaml(ARCHITECTURES))


def preset_config(preset: str) -> Sam3Config:
    """Architecture of a preset; raises WeightsError on an unknown name."""
    known = read_yaml(ARCHITECTURES)
    if preset not in known:
        raise WeightsError(f"unknown preset {preset!r}; known are {', '.join(known)}")
    return _config(known[preset])


def architecture(
    folder: Path | None, preset: str, image_size: int | None, regularisation: Regularisation
) -> Sam3Config:
    """Architecture of the model in a folder, or of a preset without one; raises WeightsError."""
    config: Any = preset_config(preset) if folder is None else _config(_read_json(folder / "config.json"))
    for part in (config.geometry_encoder_config, config.detr_encoder_config, config.detr_decoder_config):
        part.dropout, part.hidden_dropout = regularisation.dropout, regularisation.hidden_dropout
    if image_size is not None:
        if image_size % config.vision_config.backbone_config.patch_size:
            raise WeightsError(f"image size {image_size} is not a multiple of the patch size")
        config.vision_config.backbone_config.image_size = image_size
    found: Sam3Config = config
    return found


def build_model(
    weights: str | Path | None = None,
    preset: str = "sam3",
    *,
    image_size: int | None = None,
    regularisation: Regularisation | None = None,
    seed: int = 0,
) -> Sam3Graph:
    """The training graph on the CPU in float32, in training mode; see the module for what ``weights`` may be.

    ``image_size`` replaces the side of the network input, in pixels: no weight depends on it. It must be a
    multiple of the patch size. Raises WeightsError when a tensor is missing, unexpected or of another shape.
    """
    folder = None if weights is None or _is_official(weights) else local_folder(weights)
    regularisation = regularisation or Regularisation()
    config = architecture(folder, preset, image_size, regularisation)
    if weights is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Sam3Graph(config)
            initialise(model)
    else:
        with no_init_weights():  # all are about to be replaced, and drawing 840 M numbers takes a minute
            model = Sam3Graph(config)
        if folder is not None:
            load_tensors(model, dict(_folder_tensors(folder)), str(weights))
        else:
            official = read_official(Path(weights))
            load_tensors(model, official_tensors(Path(weights), official, model.state_dict()), str(weights))
    set_drop_path(model, regularisation.drop_path)
    model.train()
    return model


@torch.no_grad()
def load_tensors(model: Sam3Graph, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy ``tensors``, which come from ``source``, into the model.

    Raises WeightsError unless names and shapes agree exactly.
    """
    own = model.state_dict()
    problem = misfit(*({n: tuple(t.shape) for n, t in each.items()} for each in (own, tensors)))
    if problem is not None:
        raise WeightsError(f"{source} does not fit this model {problem}")
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def read_official(path: Path) -> dict[str, Tensor]:
    """Tensors of an official ``.pt`` file under its own names; nothing but tensors is unpickled."""
    if not path.is_file():
        raise WeightsError(f"no checkpoint at {path}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{path} is not a file of plain tensors as torch.save writes it: {error}"
        ) from error
    found = found.get("model", found) if isinstance(found, dict) else found
    if (problem := no_state_dict(found)) is not None:
        raise WeightsError(f"{path}: {problem}; expected an official checkpoint such as sam3.pt")
    return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}


def official_tensors(path: Path, official: Mapping[str, Tensor], own: Collection[str]) -> dict[str, Tensor]:
    """What an official ``.pt`` file holds under the model's `own` names, where it has them; raises WeightsError."""
    tensors = from_official(official, own)
    if tensors.keys().isdisjoint(own):  # something else altogether: told by its own names
        names: dict[str, tuple[int, ...]] = {DETECTOR + official_name(name)[0]: () for name in own}
        reason = cause(names, dict.fromkeys(official, ()))
        raise WeightsError(
            f"{path}: none of its {len(official)} tensors is one of SAM3's image model. {reason}"
        )
    return tensors


def fitting_preset(path: Path) -> str:
    """The preset whose architecture an official ``.pt`` file has; raises WeightsError when it fits none.

    A file holds no architecture, so the side of the network input is that of the preset.
    """
    official, refusals = read_official(path), []
    for preset in presets():
        own = _shapes(preset)
        found = {name: tuple(tensor.shape) for name, tensor in official_tensors(path, official, own).items()}
        problem = misfit(own, found)
        if problem is None:
            return preset
        refusals.append((sum(own.get(name) == shape for name, shape in found.items()), preset, problem))
    _, nearest, problem = max(refusals)
    raise WeightsError(f"{path} fits none of the presets {', '.join(presets())}; of {nearest} {problem}")


@cache
def _shapes(preset: str) -> Mapping[str, tuple[int, ...]]:
    """Of every tensor of a preset's model, by its name."""
    with torch.device("meta"), no_init_weights():
        model = Sam3Graph(preset_config(preset))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def export_folder(model: Sam3Graph, folder: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``, which ``Sam3Model.from_pretrained(folder)`` loads."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict() | {"architectures": ["Sam3Model"], "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    partial = folder / "model.safetensors.partial"
    save_file(_cpu_tensors(model), partial, metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")


def export_official(model: Sam3Graph, path: Path, base: Path | None = None) -> None:
    """Write an official ``.pt`` file for tools built on Meta's code.

    ``base`` is the official file from which training started: the parts that this model lacks (video tracker,
    point prompts) are copied from it. Without it the file holds the text-prompted image model alone.
    """
    official = to_official(_cpu_tensors(model), read_official(base) if base else None)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    torch.save(official, partial)
    partial.replace(path)


def _cpu_tensors(model: Sam3Graph) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _is_official(weights: str | Path) -> bool:
    return Path(weights).suffix in (".pt", ".pth")


def local_folder(weights: str | Path) -> Path:
    """The local folder of ``weights``; from the hub or its cache when it is no folder but a hub id.

    Raises WeightsError.
    """
    if Path(weights).is_dir():
        return Path(weights)
    if not HUB_ID.fullmatch(str(weights)):
        raise WeightsError(f"{weights} is neither a folder, nor a .pt file, nor a hub id (owner/name)")
    from huggingface_hub import snapshot_download

    repo, _, revision = str(weights).partition("@")
    try:
        files = ["config.json", "*.safetensors", "*.safetensors.index.json", OWN_CONCEPTS]
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=files))
    except Exception as error:  # network, licence gate, cache: the hub raises many kinds
        raise WeightsError(
            f"{weights} is no folder here, and the hub did not give it: {error}\nSAM3 is gated: accept its "
            "licence on the hub and log in, or give the path of a folder or .pt file that you downloaded."
        ) from error


def _config(values: dict[str, Any] | None) -> Sam3Config:
    values = values or {}
    return Sam3Config.from_dict(values.get("detector_config") or values)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        if (path.parent / "adapter_config.json").is_file():
            raise WeightsError(f"{path.parent} has no {path.name}. {cause({}, {'lora_': ()})}")
        raise WeightsError(
            f"{path.parent} has no {path.name}; a model folder holds config.json and model.safetensors"
        )
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def _folder_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of everything that belongs to the image model, one tensor at a time."""
    index = folder / "model.safetensors.index.json"
    names = set(_read_json(index)["weight_map"].values()) if index.is_file() else {"model.safetensors"}
    for path in (folder / name for name in sorted(names)):
        if not path.is_file():
            raise WeightsError(f"{path} is absent; found {sorted(p.name for p in folder.iterdir())}")
        with safe_open(path, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118, not a dict
                if not name.startswith(_VIDEO_REST):
                    yield name.removeprefix(_VIDEO_DETECTOR), stored.get_tensor(name)
