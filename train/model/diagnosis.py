"""Why the tensors of a file do not fit a model, said by its usual causes.

Loaders that take what fits and leave the rest random are how a fine-tuned model turns out not to be the one that was
trained, so nothing is ever loaded in part.
"""

from collections.abc import Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
SHOWN = 5
_WRAPPED = {"module": "DistributedDataParallel", "_orig_mod": "torch.compile", "_fsdp_wrapped_module": "FSDP"}


def misfit(own: Shapes, found: Shapes) -> str | None:
    """What is wrong with tensors `found` (name to shape) for a model with the tensors `own`; None when they fit."""
    missing, unexpected = sorted(own.keys() - found.keys()), sorted(found.keys() - own.keys())
    shapes = [
        f"{name} is {found[name]}, the model has {own[name]}"
        for name in sorted(own.keys() & found.keys())
        if own[name] != found[name]
    ]
    if not (missing or unexpected or shapes):
        return None
    groups = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    lines = [
        f"  {len(names)} {what}: {'; '.join(names[:SHOWN])}{' ...' if len(names) > SHOWN else ''}"
        for what, names in groups.items()
        if names
    ]
    return f"({len(own)} tensors expected, {len(found)} found):\n" + "\n".join([*lines, cause(own, found)])


def cause(own: Shapes, found: Shapes) -> str:
    """The likeliest cause and what to do about it, in one sentence."""
    if any("lora_" in name for name in found):
        return (
            "These are LoRA adapters, which mean nothing without their base model: merge them into it where they "
            "were trained (peft: merge_and_unload) and save the whole model."
        )
    if prefix := common_prefix(own, found):
        wrapper = _WRAPPED.get(prefix.rstrip("."))
        reason = f", as {wrapper} saves them" if wrapper else ""
        return (
            f"Its names begin with '{prefix}'{reason}: save the state dict of the model within, or take the prefix "
            "off all names."
        )
    shared = own.keys() & found.keys()
    if shared and not any(own[name] != found[name] for name in shared) and found.keys() <= own.keys():
        return f"It holds {len(found) / len(own):.0%} of the model; the rest would stay random: find the whole one."
    if any(own[name] != found[name] for name in shared):
        return "It is a model of another size: is this its preset or config.json?"
    return "Is it a SAM3 image model, and is this its preset?"


def common_prefix(own: Shapes, found: Shapes) -> str | None:
    """What stands before the model's own names in at least half of the names found."""
    for name in found:
        parts = name.split(".")
        for depth in range(1, min(len(parts), 4)):
            prefix = ".".join(parts[:depth]) + "."
            if name.removeprefix(prefix) in own:
                count = sum(each.startswith(prefix) and each.removeprefix(prefix) in own for each in found)
                return prefix if 2 * count >= len(found) else None
    return None


def no_state_dict(content: Any) -> str | None:
    """Why what a .pt file holds is no state dict; None when it is one."""
    import torch

    if not isinstance(content, dict):
        return f"it holds a {type(content).__name__}, not a state dict (names and tensors)"
    if not any(isinstance(value, torch.Tensor) for value in content.values()):
        keys = ", ".join(sorted(map(str, content))[:SHOWN]) or "nothing"
        return f"it holds no tensor, only {keys}: it is no state dict"
    return None
