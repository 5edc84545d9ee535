"""Weights in and out: random, Hugging Face folders, official checkpoints."""

import json
import pickle
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Sam3Model

from medshards.train.model.graph import Sam3Graph
from medshards.train.model.options import Regularisation
from medshards.train.model.state_dict import from_official, official_name, to_official
from medshards.train.model.weights import (
    WeightsError,
    build_model,
    export_folder,
    export_official,
    preset_config,
    presets,
)
from tests.train.graph import references, tiny, tiny_inputs


@pytest.fixture(scope="module")
def model() -> Sam3Graph:
    return tiny(seed=3)


@pytest.fixture(scope="module")
def folder(model: Sam3Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "hf"
    export_folder(model, path)
    return path


@pytest.fixture(scope="module")
def official(model: Sam3Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "official.pt"
    export_official(model, path)
    return path


def same(found: torch.nn.Module, expected: torch.nn.Module) -> None:
    a, b = found.state_dict(), expected.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def same_outputs(found: Sam3Graph, expected: Sam3Graph) -> None:
    with torch.no_grad():
        pairs = zip(found.eval()(*tiny_inputs()).tensors(), expected.eval()(*tiny_inputs()).tensors())
    for a, b in pairs:
        assert torch.equal(a, b)


def test_random_weights_depend_on_the_seed_alone(model: Sam3Graph) -> None:
    before = torch.get_rng_state()
    same(tiny(seed=3), model)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(tiny(seed=4).text_projection.weight, model.text_projection.weight)


def test_random_start_spreads_its_boxes_and_lets_every_parameter_learn() -> None:
    model = tiny(regularisation=Regularisation(dropout=0, hidden_dropout=0))
    outputs = model(*tiny_inputs())
    first = outputs.boxes[0, 0].detach()
    assert first[:, :2].std(0).min() > 0.2
    assert first[:, 2:].min() > 0.05
    assert first[:, 2:].max() < 0.65
    sum(o.float().square().mean() for o in outputs.tensors()).backward()
    trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    silent = {n for n, gradient in trained.items() if gradient is None or not gradient.abs().max() > 0}
    # Behind the box head's last layer, which starts at zero, nothing moves until that layer has.
    assert {
        n for n in silent if "box_head" not in n and "geometry_encoder.layers.0.self_attn" not in n
    } == set()


@pytest.mark.parametrize("preset", presets())
def test_presets_describe_models_with_masks_of_four_times_the_patch_grid(preset: str) -> None:
    with torch.device("meta"):
        model = Sam3Graph(preset_config(preset))
    backbone = model.vision_encoder.backbone.config
    assert model.image_size % backbone.patch_size == 0
    assert model.text_encoder.config.vocab_size == 49408
    assert model.text_encoder.config.hidden_act == "gelu"
    assert model.text_encoder.config.max_position_embeddings == 32
    assert backbone.layer_norm_eps == 1e-5
    if preset == "sam3":
        assert sum(p.numel() for p in model.parameters()) == 840_376_374
        assert sum(not p.requires_grad for p in model.parameters()) == 18
        assert model.image_size == 1008
        # The released file has 1,156 tensors of the detector. Of these 22 are the tracker's neck, 32 tables of
        # rotary angles and 6 belong to point prompts.
        assert len({official_name(name)[0] for name in model.state_dict()}) == 1156 - 22 - 32 - 6


def test_image_size_can_be_changed_without_changing_a_weight(model: Sam3Graph, folder: Path) -> None:
    smaller = build_model(folder, image_size=84)
    same(smaller, model)
    assert smaller.image_size == 84
    with torch.no_grad():
        outputs = smaller.eval()(*tiny_inputs(side=84))
    assert outputs.masks.shape[-2:] == (24, 24)
    with pytest.raises(WeightsError, match="multiple of the patch size"):
        build_model(folder, image_size=100)


def test_a_folder_loads_here_and_in_transformers(model: Sam3Graph, folder: Path) -> None:
    loaded = build_model(folder)
    same(loaded, model)
    same_outputs(loaded, model)
    loading: Any = Sam3Model.from_pretrained(
        folder, output_loading_info=True
    )  # a pair, unlike its annotation
    stock, report = loading
    assert type(stock) is Sam3Model
    assert not any(report.values()), report
    same(stock, model)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Sam3Model"]
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_what_transformers_writes_loads_here(model: Sam3Graph, folder: Path, tmp_path: Path) -> None:
    Sam3Model.from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="3MB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    same(build_model(tmp_path), model)


def test_the_image_model_is_taken_out_of_a_video_checkpoint(
    model: Sam3Graph, folder: Path, tmp_path: Path
) -> None:
    tensors = {f"detector_model.{n}": t for n, t in load_file(folder / "model.safetensors").items()}
    tensors |= {"tracker_model.memory.weight": torch.ones(2), "tracker_neck.fpn_layers.0.bias": torch.ones(2)}
    save_file(tensors, tmp_path / "model.safetensors")
    config = {"model_type": "sam3_video", "detector_config": json.loads((folder / "config.json").read_text())}
    (tmp_path / "config.json").write_text(json.dumps(config))
    same(build_model(tmp_path), model)


def test_a_hub_id_is_fetched_with_its_revision(
    model: Sam3Graph, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(repo: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        assert not any("*.pt" in pattern or "*.bin" in pattern for pattern in allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    same(build_model("someone/sam3"), model)
    same(build_model("someone/sam3@v2"), model)
    assert asked == [("someone/sam3", None), ("someone/sam3", "v2")]

    def offline(*_: object, **__: object) -> str:
        raise OSError("cannot reach the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(WeightsError, match=r"someone/sam3 is no folder here.*cannot reach the hub"):
        build_model("someone/sam3")


def test_official_names_and_shapes(model: Sam3Graph, official: Path) -> None:
    """Spelled out by hand for one tensor of each kind that is more than renamed."""
    found = torch.load(official, weights_only=True)
    own = model.state_dict()

    def stack(prefix: str, kind: str) -> Tensor:
        return torch.cat([own[f"{prefix}.{x}_proj.{kind}"] for x in "qkv"])

    trunk, text = "detector.backbone.vision_backbone.trunk", "detector.backbone.language_backbone.encoder"
    decoder = "detector.transformer.decoder"
    expected = {
        f"{trunk}.blocks.1.attn.qkv.weight": stack("vision_encoder.backbone.layers.1.attention", "weight"),
        f"{trunk}.blocks.1.attn.qkv.bias": stack("vision_encoder.backbone.layers.1.attention", "bias"),
        f"{trunk}.pos_embed": torch.cat(
            [torch.zeros(1, 1, 64), own["vision_encoder.backbone.embeddings.position_embeddings"]], dim=1
        ),
        f"{text}.transformer.resblocks.0.attn.in_proj_weight": stack(
            "text_encoder.text_model.encoder.layers.0.self_attn", "weight"
        ),
        f"{text}.text_projection": own["text_encoder.text_projection.weight"].T,
        f"{text}.positional_embedding": own["text_encoder.text_model.embeddings.position_embedding.weight"],
        f"{decoder}.layers.2.ca_text.in_proj_bias": stack("detr_decoder.layers.2.text_cross_attn", "bias"),
        f"{decoder}.layers.0.norm2.weight": own["detr_decoder.layers.0.self_attn_layer_norm.weight"],
        f"{decoder}.layers.0.norm1.weight": own["detr_decoder.layers.0.vision_cross_attn_layer_norm.weight"],
        f"{decoder}.boxRPB_embed_x.layers.1.weight": own["detr_decoder.box_rpb_embed_x.layer2.weight"],
        "detector.dot_prod_scoring.prompt_mlp.out_norm.bias": own[
            "dot_product_scoring.text_mlp_out_norm.bias"
        ],
        "detector.segmentation_head.cross_attend_prompt.out_proj.weight": own[
            "mask_decoder.prompt_cross_attn.o_proj.weight"
        ],
    }
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert all(name.startswith("detector.") for name in found)
    parameters = sum(tensor.numel() for tensor in found.values())
    assert parameters == sum(p.numel() for p in model.parameters()) + 64  # the CLS row


def test_an_official_file_loads_back_exactly(model: Sam3Graph, official: Path, tmp_path: Path) -> None:
    loaded = build_model(official, preset="tiny")
    same(loaded, model)
    same_outputs(loaded, model)
    nested = tmp_path / "training.pth"  # as Meta's trainer writes it: under "model", without the prefix
    tensors = {n.removeprefix("detector."): t for n, t in torch.load(official).items()}
    torch.save({"model": tensors, "epoch": 3}, nested)
    same(build_model(nested, preset="tiny"), model)


def test_every_golden_model_survives_both_formats(golden: Path) -> None:
    for reference in references(golden):
        state = reference.model.state_dict()
        again = from_official(to_official(state), state)
        assert again.keys() == state.keys()
        assert all(torch.equal(again[name], state[name]) for name in state)


def test_a_base_file_keeps_what_the_image_model_lacks(
    model: Sam3Graph, official: Path, tmp_path: Path
) -> None:
    extra = {
        "tracker.maskmem_tpos_enc": torch.arange(3.0),
        "detector.backbone.vision_backbone.sam2_convs.0.conv_1x1.bias": torch.arange(4.0),
        "detector.geometry_encoder.points_direct_project.bias": torch.arange(5.0),
        "detector.backbone.vision_backbone.trunk.blocks.0.attn.freqs_cis": torch.zeros(
            2, dtype=torch.complex64
        ),
    }
    base = torch.load(official) | extra
    positions = "detector.backbone.vision_backbone.trunk.pos_embed"
    base[positions] = torch.cat([torch.full((1, 1, 64), 7.0), base[positions][:, 1:]], dim=1)
    torch.save(base, tmp_path / "base.pt")

    trained = build_model(tmp_path / "base.pt", preset="tiny")  # the extra tensors are no error
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)
    export_official(trained, tmp_path / "out.pt", base=tmp_path / "base.pt")
    found = torch.load(tmp_path / "out.pt", weights_only=True)
    assert found.keys() == base.keys()
    for name, tensor in base.items():
        changed = 0 if name in extra else 1
        expected = tensor + changed
        if name == positions:
            expected[:, 0] = 7
        torch.testing.assert_close(found[name], expected, msg=name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.pt", "out.pt"]


def test_tensors_that_do_not_fit_are_named(folder: Path, official: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["surplus.weight"] = torch.zeros(2)
    del tensors["detr_decoder.query_embed.weight"]
    tensors["text_projection.bias"] = torch.zeros(7)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(WeightsError) as error:
        build_model(tmp_path)
    message = str(error.value)
    assert str(tmp_path) in message
    assert "1 missing: detr_decoder.query_embed.weight" in message
    assert "1 unexpected: surplus.weight" in message
    assert "text_projection.bias is (7,), the model has (32,)" in message

    broken = torch.load(official)
    del broken["detector.transformer.decoder.layers.0.self_attn.in_proj_weight"]
    broken["detector.new_head.weight"] = torch.zeros(2)
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(WeightsError, match=r"3 missing: detr_decoder\.layers\.0\.self_attn") as error:
        build_model(tmp_path / "broken.pt", preset="tiny")
    assert "1 unexpected: new_head.weight" in str(error.value)


def test_what_cannot_be_read_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="unknown preset 'huge'; known are sam3, small, tiny"):
        build_model(preset="huge")
    with pytest.raises(WeightsError, match="no checkpoint at"):
        build_model(tmp_path / "absent.pt", preset="tiny")
    with pytest.raises(WeightsError, match=r"neither a folder, nor a \.pt file, nor a hub id"):
        build_model(tmp_path / "absent")
    with pytest.raises(WeightsError, match=r"has no config\.json"):
        build_model(tmp_path)


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_code_inside_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    payload = Payload(tmp_path / "ran")
    torch.save({"model": {"a": payload}}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": payload}))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(WeightsError, match="not a file of plain tensors"):
            build_model(tmp_path / name, preset="tiny")
    assert not payload.path.exists()
