"""The assignments agree with the reference numbers, are optimal, and follow the order of the targets."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medshards.train.model.outputs import Outputs, Targets
from medshards.train.objective.boxes import cxcywh_to_xyxy, iou_and_giou
from medshards.train.objective.matching import (
    MatcherConfig,
    assignment_cost,
    best_per_target,
    match,
    pair_quality,
    solve,
)
from tests.train.cases import load, outputs_of, random_boxes, random_case, targets_of, triples


def matcher_cases(golden: Path) -> list[dict]:
    cases = json.loads((golden / "matcher" / "index.json").read_text())
    assert cases, "no matcher cases found"
    return cases


def test_costs_and_assignments_of_the_reference_cases(golden: Path) -> None:
    for info in matcher_cases(golden):
        case, name = load(golden / info["file"]), info["file"]
        settings_ = info["matcher"]
        config = MatcherConfig(
            class_weight=settings_["w_class"],
            l1_weight=settings_["w_l1"],
            giou_weight=settings_["w_giou"],
            alpha=settings_["alpha"],
            gamma=settings_["gamma"],
            stable=settings_["stable"],
        )
        targets = targets_of(case)
        logits, boxes = case["pred_logits"][None], case["pred_boxes"][None]

        cost = assignment_cost(logits, boxes, targets, config)
        quality = pair_quality(logits, boxes, targets, config)
        for prompt, rows in enumerate(torch.arange(len(targets.boxes)).split(targets.num_boxes.tolist())):
            if not len(rows):
                continue
            expected = case[f"o2o_cost_{prompt}"].T
            torch.testing.assert_close(cost[0, rows], expected, rtol=1e-5, atol=1e-5, msg=name)
            expected = case["o2m_quality"][prompt, :, : len(rows)].T
            torch.testing.assert_close(quality[0, rows], expected, rtol=1e-5, atol=1e-6, msg=name)

        expected_one = triples(case["o2o_batch"], case["o2o_query"], case["o2o_target"])
        assert solve(cost, targets).triples() == expected_one, name
        expected_many = triples(case["o2m_batch"], case["o2m_query"], case["o2m_target"])
        assert best_per_target(quality, targets, config).triples() == expected_many, name


@pytest.mark.parametrize("on_aux", [False, True])
def test_all_layers_in_one_go_give_the_reference_pairs(golden: Path, on_aux: bool) -> None:
    config = MatcherConfig(o2m_matcher_on_aux=on_aux)
    for info in json.loads((golden / "loss" / "index.json").read_text()):
        case = load(golden / info["file"])
        o2o, o2m = match(outputs_of(case), targets_of(case), config)
        assert o2m is not None
        for layer in range(info["layers"]):
            final = layer == info["layers"] - 1
            expected = case[f"o2m_{layer}" if final or on_aux else f"o2mh_{layer}"]
            assert o2o.of_layer(layer).triples() == triples(*case[f"o2o_{layer}"]), (info["file"], layer)
            assert o2m.of_layer(layer).triples() == triples(*expected), (info["file"], layer)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), counts=st.lists(st.integers(0, 4), min_size=1, max_size=3))
def test_the_assignment_is_the_cheapest_of_all(seed: int, counts: list[int]) -> None:
    queries = 5
    outputs, targets = random_case(seed, counts, queries=queries, layers=1)
    cost = assignment_cost(outputs.logits, outputs.boxes, targets, MatcherConfig()).detach()
    pairs = solve(cost, targets)
    start = 0
    for prompt, count in enumerate(counts):
        table = cost[0, start : start + count].numpy()
        best = min(
            sum(table[row, query] for row, query in enumerate(chosen))
            for chosen in itertools.permutations(range(queries), count)
        )
        mine = [(q, t - start) for b, q, t in pairs.triples() if b == prompt]
        assert len(mine) == count
        assert sum(table[t, q] for q, t in mine) == pytest.approx(best, abs=1e-4)
        start += count


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_permuting_targets_permutes_both_assignments(seed: int, data: st.DataObject) -> None:
    counts = [3, 0, 4]
    outputs, targets = random_case(seed, counts, queries=10)
    order = [*data.draw(st.permutations(range(3))), *(3 + i for i in data.draw(st.permutations(range(4))))]
    shuffled = Targets(targets.boxes[order], targets.num_boxes)
    config = MatcherConfig(o2m_threshold=0.1)
    for before, after in zip(match(outputs, targets, config), match(outputs, shuffled, config)):
        assert before is not None
        assert after is not None
        for layer in range(3):
            renamed = {(b, q, order[t]) for b, q, t in after.of_layer(layer).triples()}
            assert renamed == before.of_layer(layer).triples()


def test_pairs_are_sorted_and_know_the_last_of_each_query() -> None:
    outputs, targets = random_case(3, [4, 0, 3], queries=6)
    _, pairs = match(outputs, targets, MatcherConfig(o2m_threshold=0.0, o2m_matcher_on_aux=True))
    assert pairs is not None
    rows = list(zip(*(x.tolist() for x in (pairs.layer, pairs.prompt, pairs.query, pairs.target))))
    assert rows == sorted(rows)
    last = {row[:3]: row[3] for row in rows}  # a later pair of the same query overwrites
    assert len(last) < len(rows), "the case should hold a shared query"
    chosen = pairs.select(pairs.last_of_query())
    assert {
        (int(a), int(b), int(c)): int(d)
        for a, b, c, d in zip(chosen.layer, chosen.prompt, chosen.query, chosen.target)
    } == last
    assert len(chosen) == len(last)


def test_a_target_with_fewer_queries_than_k_keeps_those_above_the_lowest() -> None:
    quality = torch.tensor([[[0.9, 0.5, 0.7]]])
    targets = Targets(torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([1]))
    assert best_per_target(quality, targets, MatcherConfig()).triples() == {(0, 0, 0), (0, 2, 0)}


def test_ties_at_the_quantile_are_left_out() -> None:
    # numpy's quantile is the independent reference: 1 - 4/8 of these eight values is 0.6 exactly.
    values = np.array([0.9, 0.8, 0.7, 0.6, 0.6, 0.5, 0.4, 0.3], np.float32)
    assert np.quantile(values, 0.5) == np.float32(0.6)
    targets = Targets(torch.tensor([[0.5, 0.5, 0.2, 0.2]]), torch.tensor([1]))
    found = best_per_target(torch.from_numpy(values)[None, None], targets, MatcherConfig())
    assert found.query.tolist() == [0, 1, 2]


@pytest.mark.parametrize("query_set", ["one-to-one", "one-to-many"])
def test_a_cost_that_is_not_a_number_names_layer_and_prompt(query_set: str) -> None:
    outputs, targets = random_case(0, [1, 2])
    named = Targets(targets.boxes, targets.num_boxes, names=("busi/0001: tumor", "glas/7: gland"))
    logits = outputs.logits if query_set == "one-to-one" else outputs.logits_o2m
    assert logits is not None
    logits.data[2, 1, 4] = torch.nan
    with pytest.raises(FloatingPointError, match=r"prompt 1 \(glas/7: gland\), layer 2") as error:
        match(outputs, named, MatcherConfig())
    assert ("one-to-many" in str(error.value)) == (query_set == "one-to-many")


def test_no_targets_at_all_give_no_pairs() -> None:
    outputs, targets = random_case(0, [0, 0])
    o2o, o2m = match(outputs, targets, MatcherConfig())
    assert o2m is not None
    assert len(o2o) == len(o2m) == 0


def test_without_a_one_to_many_set_only_one_assignment_is_made() -> None:
    outputs, targets = random_case(0, [2, 1])
    plain = Outputs(outputs.logits, outputs.boxes, outputs.presence)
    o2o, o2m = match(plain, targets, MatcherConfig())
    assert o2m is None
    assert o2o.triples() == match(outputs, targets, MatcherConfig())[0].triples()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_overlap_agrees_with_boxes_drawn_on_a_grid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (2, 2))
    sizes = rng.integers(1, 8, (2, 2))
    drawn = np.zeros((2, 20, 20), bool)
    for canvas, (x, y), (w, h) in zip(drawn, corners, sizes):
        canvas[y : y + h, x : x + w] = True
    rows, columns = np.nonzero(drawn.any(0))
    hull = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    union, overlap = drawn.any(0).sum(), drawn.all(0).sum()
    boxes = torch.from_numpy(np.concatenate((corners + sizes / 2, sizes), axis=1))
    iou, giou = iou_and_giou(*cxcywh_to_xyxy(boxes))
    assert float(iou) == pytest.approx(overlap / union)
    assert float(giou) == pytest.approx(overlap / union - (hull - union) / hull)


def test_half_precision_outputs_are_matched_in_float32() -> None:
    outputs, targets = random_case(5, [3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = assignment_cost(outputs.logits.bfloat16(), outputs.boxes, targets, MatcherConfig())
    assert cost.dtype == torch.float32
    exact = assignment_cost(outputs.logits.bfloat16().float(), outputs.boxes, targets, MatcherConfig())
    assert torch.equal(cost, exact)


def test_targets_whose_counts_do_not_add_up_are_refused() -> None:
    boxes = random_boxes(torch.Generator().manual_seed(0), 3)
    with pytest.raises(ValueError, match="adds up to 2 targets, boxes list 3"):
        Targets(boxes, torch.tensor([1, 1]))
