"""The training graph against the numbers of the official code, and its own promises."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from medshards.train.model.graph import Sam3Graph, _drop_path
from medshards.train.model.outputs import Outputs
from medshards.train.objective.losses import map_losses
from medshards.train.objective.objective import objective
from medshards.train.speed.padding import fill_inputs, filling
from medshards.train.speed.regions import compile_regions
from tests.train.cases import targets_of
from tests.train.graph import NO_DROPOUT, references, tiny, tiny_inputs

# Gradients of these are mathematically zero, so only rounding noise remains: adding a constant to all keys of
# a softmax, or to its whole bias, changes nothing.
ZERO_GRADIENT = ("k_proj.bias", "box_rpb_embed_x.layer2.bias", "box_rpb_embed_y.layer2.bias")


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=0, atol=tolerance)


def test_evaluation_gives_the_outputs_of_the_official_graph(golden: Path) -> None:
    for reference in references(golden):
        model, arrays = reference.model.eval(), reference.arrays
        fused: list[Tensor] = []
        model.detr_encoder.layers[-1].register_forward_hook(lambda *call, kept=fused: kept.append(call[-1]))
        with torch.no_grad():
            found = model(*reference.inputs)
            levels, position = model.encode_images(arrays["pixel_values"])
            coarsest = levels[-1][arrays["img_ids"]].flatten(2).transpose(1, 2)
            token = model.geometry_token(coarsest, position)
        close(levels[-1], arrays["eval_fpn2"])
        close(token, arrays["eval_geometry_cls"])
        close(fused[0], arrays["eval_encoder_out"])
        close(found.logits[-1], arrays["eval_pred_logits"])
        close(found.boxes[-1], arrays["eval_pred_boxes"])
        close(found.presence[-1], arrays["eval_presence_logit_dec"])
        close(found.masks, arrays["eval_pred_masks"])
        close(found.semantic, arrays["eval_semantic_seg"])
        assert found.logits_o2m is None
        assert found.boxes_o2m is None
        assert found.masks_o2m is None


def test_training_gives_the_outputs_of_every_layer_and_both_query_sets(golden: Path) -> None:
    for reference in references(golden):
        found, arrays = reference.model.train()(*reference.inputs), reference.arrays
        close(found.logits, arrays["train_pred_logits"])
        close(found.boxes, arrays["train_pred_boxes"])
        close(found.presence, arrays["train_presence_logit_dec"])
        close(found.logits_o2m, arrays["train_pred_logits_o2m"])
        close(found.boxes_o2m, arrays["train_pred_boxes_o2m"])
        close(found.masks, arrays["train_pred_masks"])
        close(found.masks_o2m, arrays["train_pred_masks_o2m"])
        close(found.semantic, arrays["train_semantic_seg"])


@pytest.mark.parametrize(
    ("sizes", "compiled"),
    [((), False), ((7, 32), False), pytest.param((7, 32), True, marks=pytest.mark.slow)],
    ids=["as it is", "filled up", "compiled"],
)
def test_losses_and_gradients_of_the_whole_graph(
    golden: Path, sizes: tuple[int, ...], compiled: bool
) -> None:
    for reference in references(golden):
        model, expected = reference.model.train(), reference.expected
        of_maps = compile_regions(model) if compiled else map_losses
        targets = targets_of(reference.arrays, mask_size=model.image_size)
        names = ("pixel_values", "img_id", "input_ids", "attention_mask", "text_id")
        outputs = model(**fill_inputs(dict(zip(names, reference.inputs, strict=True)), sizes))
        total, terms = objective(
            outputs.first(len(targets.num_boxes)), targets, of_maps=filling(of_maps, sizes)
        )
        total.backward()

        assert total.item() == pytest.approx(expected["terms"]["core_loss"], rel=1e-5)
        for name, value in terms.items():
            if name in ("num_boxes", "semantic_presence"):
                continue
            factor = 2 if name.endswith("_o2m") else 1  # the reference lists these with their weight
            term = expected["terms"][official_term(name)]
            assert factor * value.item() == pytest.approx(term, rel=1e-5, abs=1e-7), name

        parameters = {n: p for n, p in model.named_parameters() if not n.endswith(ZERO_GRADIENT)}
        for name, parameter in parameters.items():
            norm = expected["grad_norms"].get(name) or 0.0
            found = 0.0 if parameter.grad is None else parameter.grad.norm().item()
            assert found == pytest.approx(norm, rel=1e-4, abs=1e-5), name
        for name, gradient in reference.arrays.items():
            if name.startswith("grad/"):
                found = parameters[name.removeprefix("grad/")].grad
                close(found, gradient, 1e-4 * gradient.abs().max().item())


def official_term(name: str) -> str:
    """The name under which the reference lists one of our terms: l1_aux_0_o2m is loss_bbox_aux_0_o2m."""
    names = {"l1": "loss_bbox", "presence": "presence_loss"}
    stem, *rest = name.split("_aux_")
    base = stem.removesuffix("_o2m")
    suffix = stem[len(base) :]
    return "_aux_".join([names.get(base, f"loss_{base}") + suffix, *rest])


def test_exactly_the_parameters_without_gradient_are_frozen(golden: Path) -> None:
    for reference in references(golden):
        frozen = {n for n, p in reference.model.named_parameters() if not p.requires_grad}
        norms = reference.expected["grad_norms"]
        unreached = {n for n in reference.model.state_dict() if not norms.get(n)}
        # The CLS token attends to itself alone, so queries and keys do not matter; yet they are in the graph.
        lonely = {n for n in unreached if n.startswith("geometry_encoder.layers.") and ".self_attn." in n}
        assert frozen == unreached - lonely
        sum(o.float().sum() for o in reference.model.train()(*reference.inputs).tensors()).backward()
        without = {n for n, p in reference.model.named_parameters() if p.grad is None}
        assert frozen == without


def gradients(model: Sam3Graph) -> dict[str, Tensor]:
    torch.manual_seed(7)  # dropout
    model.zero_grad()
    outputs = model.train()(*tiny_inputs())
    sum(o.float().square().mean() for o in outputs.tensors()).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_checkpointing_recomputes_every_block_and_changes_no_gradient() -> None:
    model = tiny()
    calls = dict.fromkeys(("vit", "text", "fusion", "geometry", "decoder", "pixels"), 0)
    watched = {
        "vit": model.vision_encoder.backbone.layers[0].mlp,
        "text": model.text_encoder.text_model.encoder.layers[0].mlp,
        "fusion": model.detr_encoder.layers[0].mlp,
        "geometry": model.geometry_encoder.layers[0].mlp,
        "decoder": model.detr_decoder.layers[0].mlp,
        "pixels": model.mask_decoder.pixel_decoder,
    }
    for name, module in watched.items():
        module.register_forward_pre_hook(lambda *_, n=name: calls.update({n: calls[n] + 1}))
    plain = gradients(model)
    assert set(calls.values()) == {1}
    model.checkpoint_activations()
    again = gradients(model)
    assert set(calls.values()) == {3}  # once more forward, once in the backward pass
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-5, atol=1e-8, msg=name)
    model.checkpoint_activations("off")
    gradients(model)
    assert set(calls.values()) == {4}
    model.checkpoint_activations("vision:2")  # the first and the third of four
    model.vision_encoder.backbone.layers[1].mlp.register_forward_pre_hook(
        lambda *_: calls.update({"second vit": calls.get("second vit", 0) + 1})
    )
    some = gradients(model)
    assert calls.pop("vit") == 6
    assert calls.pop("second vit") == 1
    assert set(calls.values()) == {5}
    for name, gradient in plain.items():
        torch.testing.assert_close(some[name], gradient, rtol=1e-5, atol=1e-8, msg=name)


def test_one_to_many_queries_do_not_disturb_the_others() -> None:
    model = tiny(regularisation=NO_DROPOUT)
    with torch.no_grad():
        training = model.train()(*tiny_inputs())
        evaluation = model.eval()(*tiny_inputs())
    for name in ("logits", "boxes", "presence", "masks", "semantic"):
        close(getattr(training, name), getattr(evaluation, name), 1e-5)
    assert not torch.allclose(training.logits_o2m, training.logits, atol=1e-3)


def test_prompts_that_share_an_image_are_independent() -> None:
    model = tiny().eval()
    pixels, img_id, ids, mask, text_id = tiny_inputs()
    with torch.no_grad():
        together = model(pixels, img_id, ids, mask, text_id)
        for b in range(len(img_id)):
            i, t = img_id[b : b + 1], text_id[b : b + 1]
            zero = torch.zeros(1, dtype=torch.int64)
            alone = model(pixels[i], zero, ids[t], mask[t], zero)
            close(alone.logits[:, 0], together.logits[:, b], 1e-5)
            close(alone.masks[0], together.masks[b], 1e-4)


def test_padding_tokens_have_no_influence() -> None:
    model = tiny().eval()
    pixels, img_id, ids, mask, text_id = tiny_inputs()
    with torch.no_grad():
        first = model(pixels, img_id, ids, mask, text_id)
        second = model(pixels, img_id, ids.masked_fill(~mask, 49407), mask.long(), text_id)
    close(first.logits, second.logits, 1e-6)


def test_shapes_and_precision_under_autocast() -> None:
    model = tiny()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(*tiny_inputs())
    layers, prompts, queries = 3, 4, 20
    assert found.logits.shape == found.logits_o2m.shape == (layers, prompts, queries)
    assert found.boxes.shape == found.boxes_o2m.shape == (layers, prompts, queries, 4)
    assert found.presence.shape == (layers, prompts)
    assert found.masks.shape == found.masks_o2m.shape == (prompts, queries, 32, 32)
    assert found.semantic.shape == (prompts, 32, 32)
    assert isinstance(found, Outputs)
    for name in ("logits", "boxes", "presence", "logits_o2m", "boxes_o2m"):
        assert getattr(found, name).dtype == torch.float32, name
    assert found.masks is not None
    assert found.masks.dtype == torch.bfloat16
    assert all(tensor.isfinite().all() for tensor in found.tensors())


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    images, windows = 4000, 3
    module = torch.nn.Identity()
    found = _drop_path(0.25, windows, module, (), torch.ones(images * windows, 2, 2, 1)).flatten(1)
    per_image = found.reshape(images, -1)
    assert (per_image == per_image[:, :1]).all()
    assert per_image[:, 0].unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert found.mean().item() == pytest.approx(1, abs=0.03)
    assert (_drop_path(0.25, windows, module.eval(), (), torch.ones(6)) == 1).all()


def test_drop_path_is_part_of_training_only() -> None:
    options = {"dropout": 0, "hidden_dropout": 0}
    dropping = tiny(regularisation=NO_DROPOUT.model_copy(update=options | {"drop_path": 0.9}))
    plain = tiny(regularisation=NO_DROPOUT)
    with torch.no_grad():
        close(dropping.eval()(*tiny_inputs()).logits, plain.eval()(*tiny_inputs()).logits, 0)
        torch.manual_seed(0)
        trained = dropping.train()(*tiny_inputs()).masks
        assert not torch.allclose(trained, plain.train()(*tiny_inputs()).masks, atol=1e-2)
