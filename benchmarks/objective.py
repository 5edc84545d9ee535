"""Time of the objective against a plain version that loops over layers, prompts and pairs in Python.

    python -m benchmarks.objective [--prompts 8] [--queries 200] [--layers 6] [--targets 10] [--repeats 5]

Both compute the same assignments and the same total (checked before anything is timed). Runs on CUDA when
there is one. Mask losses are timed in a row of their own; on a CPU their maps are a quarter of SAM3's size.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from medshards.train.model.outputs import Outputs, Targets
from medshards.train.objective.boxes import cxcywh_to_xyxy, iou_and_giou
from medshards.train.objective.matching import match
from medshards.train.objective.objective import ObjectiveConfig, objective

Triples = list[tuple[int, int, int]]


def random_boxes(*shape: int) -> Tensor:
    size = 0.05 + 0.3 * torch.rand(*shape, 2)
    return torch.cat((size / 2 + (1 - size) * torch.rand(*shape, 2), size), dim=-1)


def make_case(args: argparse.Namespace, device: str, maps: tuple[int, int] | None) -> tuple[Outputs, Targets]:
    """Random outputs and targets; ``maps`` gives the sides of predicted and target masks."""
    torch.manual_seed(0)
    layers, prompts, queries = args.layers, args.prompts, args.queries
    num_boxes = torch.randint(0, 2 * args.targets + 1, (prompts,))
    fields: dict[str, Tensor] = {
        "logits": torch.randn(layers, prompts, queries),
        "boxes": random_boxes(layers, prompts, queries),
        "presence": torch.randn(layers, prompts),
        "logits_o2m": torch.randn(layers, prompts, queries),
        "boxes_o2m": random_boxes(layers, prompts, queries),
    }
    masks = None
    if maps:
        fields["masks"] = torch.randn(prompts, queries, maps[0], maps[0])
        fields["masks_o2m"] = torch.randn(prompts, queries, maps[0], maps[0])
        fields["semantic"] = torch.randn(prompts, maps[0], maps[0])
        masks = torch.rand(int(num_boxes.sum()), maps[1], maps[1]) > 0.7
    outputs = Outputs(**{name: value.to(device).requires_grad_() for name, value in fields.items()})
    return outputs, Targets(random_boxes(int(num_boxes.sum())), num_boxes, masks).to(device)


# The plain version: one prompt of one layer at a time, every cost copied to the CPU on its own.


@torch.no_grad()
def plain_match(
    logits: Tensor, boxes: Tensor, target_boxes: Tensor, many: bool
) -> tuple[list[int], list[int]]:
    """Pairs (queries, targets) of one prompt in one layer: ``logits`` (Q,), ``boxes`` (Q, 4)."""
    p = logits.sigmoid()
    iou, giou = iou_and_giou(cxcywh_to_xyxy(boxes)[:, None], cxcywh_to_xyxy(target_boxes)[None])
    if many:
        quality = 0.3 * p[:, None] + 0.7 * iou
        bound = torch.quantile(quality, 1 - 4 / len(logits), dim=0)
        query, target = ((quality > bound) & (quality > 0.4)).nonzero(as_tuple=True)
        return query.tolist(), target.tolist()
    focal = -0.25 * (1 - p) ** 2 * F.logsigmoid(logits) + 0.75 * p**2 * F.logsigmoid(-logits)
    cost = 5 * torch.cdist(boxes, target_boxes, p=1) + 2 * focal[:, None] - 2 * giou
    rows, columns = linear_sum_assignment(cost.cpu().numpy())
    return rows.tolist(), columns.tolist()


def plain_match_all(outputs: Outputs, targets: Targets) -> list[list[Triples]]:
    """For both query sets and every layer, (prompt, query, target within the prompt)."""
    assert outputs.logits_o2m is not None
    assert outputs.boxes_o2m is not None
    found: list[list[Triples]] = []
    for many, logits, boxes in (
        (False, outputs.logits, outputs.boxes),
        (True, outputs.logits_o2m, outputs.boxes_o2m),
    ):
        found.append([])
        for layer in range(len(logits)):
            triples: Triples = []
            for prompt, wanted in enumerate(targets.boxes.split(targets.num_boxes.tolist())):
                if len(wanted):
                    final = layer == len(logits) - 1
                    pairs = plain_match(logits[layer, prompt], boxes[layer, prompt], wanted, many and final)
                    triples += [(prompt, query, target) for query, target in zip(*pairs)]
            found[-1].append(sorted(triples))
    return found


def plain_map_losses(logits: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    y = target.float()
    z = F.interpolate(logits[None, None], y.shape, mode="bilinear", align_corners=False)[0, 0]
    q = z.sigmoid()
    right = q * y + (1 - q) * (1 - y)
    focal = (alpha * y + (1 - alpha) * (1 - y)) * (1 - right) ** 2
    focal = focal * F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return focal.mean(), 1 - (2 * (q * y).sum() + 1) / (q.sum() + y.sum() + 1)


def plain_objective(outputs: Outputs, targets: Targets) -> Tensor:
    """The total of preset ``official`` by loops."""
    prompts, queries = outputs.logits.shape[1:]
    counts = targets.num_boxes.tolist()
    starts = np.cumsum([0, *counts])
    norm = max(1, sum(counts))
    total = outputs.logits.new_zeros(())
    o2o, o2m = plain_match_all(outputs, targets)
    sets = (
        (1, outputs.logits, outputs.boxes, outputs.masks, o2o),
        (2, outputs.logits_o2m, outputs.boxes_o2m, outputs.masks_o2m, o2m),
    )
    for factor, logits, boxes, masks, found in sets:
        assert logits is not None
        assert boxes is not None
        for layer, triples in enumerate(found):
            x = logits[layer]
            p = x.sigmoid()
            labels: dict[tuple[int, int], Tensor] = {}
            for prompt, query, target in triples:
                wanted, box = targets.boxes[starts[prompt] + target], boxes[layer, prompt, query]
                iou, giou = iou_and_giou(cxcywh_to_xyxy(box), cxcywh_to_xyxy(wanted))
                total = total + factor * (5 * (box - wanted).abs().sum() + 2 * (1 - giou)) / norm
                soft = p[prompt, query].detach() ** 0.25 * iou.detach() ** 0.75
                labels[prompt, query] = soft.clamp(min=0.01)
                if masks is not None and targets.masks is not None and layer == len(found) - 1:
                    mask = targets.masks[starts[prompt] + target]
                    focal, dice = plain_map_losses(masks[prompt, query], mask, 0.25)
                    total = total + factor * (200 * focal + 10 * dice) / norm
            loss = p**2 * F.softplus(x)
            for (prompt, query), label in labels.items():
                loss[prompt, query] = 10 * F.binary_cross_entropy_with_logits(x[prompt, query], label)
            for prompt, count in enumerate(counts):
                if count:
                    total = total + factor * 20 * loss[prompt].sum() / (prompts * max(queries, 200))
    present = torch.tensor([float(count > 0) for count in counts], device=total.device)
    for layer_presence in outputs.presence:
        total = total + 20 * 0.5 * F.binary_cross_entropy_with_logits(layer_presence, present)
    if outputs.semantic is not None and targets.masks is not None:
        positive = sum(count > 0 for count in counts) + 1e-6
        for prompt, instances in enumerate(targets.masks.split(counts)):
            if len(instances):
                focal, dice = plain_map_losses(outputs.semantic[prompt], instances.any(0), 0.6)
                total = total + (20 * focal + 30 * dice) / positive
    return total * prompts**0.5


def median_time(work: Callable[[], object], device: str, repeats: int) -> float:
    """Median milliseconds of ``work``, after one run to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def check_equal(outputs: Outputs, targets: Targets, config: ObjectiveConfig) -> None:
    """Both versions must find the same pairs and the same total."""
    starts = np.cumsum([0, *targets.num_boxes.tolist()])
    for mine, plain in zip(match(outputs, targets, config.matcher), plain_match_all(outputs, targets)):
        assert mine is not None
        for layer, triples in enumerate(plain):
            expected = {(prompt, query, int(starts[prompt]) + target) for prompt, query, target in triples}
            if mine.of_layer(layer).triples() != expected:
                raise SystemExit(f"the two versions differ in the pairs of layer {layer}")
    totals = objective(outputs, targets, config)[0].item(), plain_objective(outputs, targets).item()
    if abs(totals[0] - totals[1]) > 1e-4 * abs(totals[1]):
        raise SystemExit(f"the two versions differ in the total: {totals[0]} and {totals[1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--targets", type=int, default=10, help="mean number of instances of a prompt")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    maps = (288, 1008) if device == "cuda" else (72, 252)
    config = ObjectiveConfig()

    print(
        f"{args.prompts} prompts, {args.queries} queries, {args.layers} layers, about {args.targets} "
        f"instances a prompt, {device}, {torch.get_num_threads()} thread(s); median of {args.repeats}, ms"
    )
    print(f"{'':44}{'plain':>10}{'batched':>10}{'ratio':>8}")

    def row(name: str, plain: Callable[[], object], batched: Callable[[], object]) -> None:
        before, after = median_time(plain, device, args.repeats), median_time(batched, device, args.repeats)
        print(f"{name:44}{before:10.1f}{after:10.1f}{before / after:7.1f}x", flush=True)

    outputs, targets = make_case(args, device, None)
    check_equal(outputs, targets, config)
    row(
        "matching, all layers, both query sets",
        lambda: plain_match_all(outputs, targets),
        lambda: match(outputs, targets, config.matcher),
    )
    row(
        "matching and losses without masks, and back",
        lambda: plain_objective(outputs, targets).backward(),
        lambda: objective(outputs, targets, config)[0].backward(),
    )
    with_masks, mask_targets = make_case(args, device, maps)
    check_equal(with_masks, mask_targets, config)
    row(
        f"the same with masks, {maps[0]} to {maps[1]} px",
        lambda: plain_objective(with_masks, mask_targets).backward(),
        lambda: objective(with_masks, mask_targets, config)[0].backward(),
    )


if __name__ == "__main__":
    main()
