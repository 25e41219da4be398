"""Bidirectional data pruning: the measure, the class limits, the selection."""

import numpy as np
import pytest
import torch

from sleepkit.paper.published import PREPARED_COUNTS
from sleepkit.pruning.data import class_limits, prediction_errors, pruning_rounds, select_samples, variance_of_error
from sleepkit.search.bilevel import split_halves


def counts_of(key):
    return np.array(list(PREPARED_COUNTS[key].values()))


def walk(voe, y, ids, fraction, lowest, allowance):
    """The rule in plain words: best-ranked first, exhausted classes passed over, until enough are removed."""
    known = [k for k in range(len(y)) if not np.isnan(voe[k])]
    left, removed = list(allowance), []
    for k in sorted(known, key=lambda k: (voe[k] if lowest else -voe[k], ids[k])):
        if len(removed) < int(fraction * len(y)) and left[y[k]] > 0:
            left[y[k]] -= 1
            removed.append(k)
    return sorted(removed)


def test_error_is_the_distance_of_two_distributions():
    logits, y = np.random.default_rng(0).normal(size=(6, 5)) * 3, np.array([0, 1, 2, 3, 4, 0])
    expected = []
    for row, true in zip(logits, y, strict=False):
        p = np.exp(row) / np.exp(row).sum()
        expected.append(np.sqrt(sum((p[k] - (k == true)) ** 2 for k in range(5))))
    np.testing.assert_allclose(prediction_errors(torch.from_numpy(logits), torch.from_numpy(y)), expected, rtol=1e-12)


def test_variance_of_error_equals_the_plain_formula():
    errors = np.random.default_rng(0).random((7, 9))
    for window in (2, 5, 9):
        plain = []
        for row in errors:
            last = row[-window:]
            mean = sum(last) / window
            plain.append(sum((e - mean) ** 2 for e in last) / window)
        np.testing.assert_allclose(variance_of_error(errors, window), plain, rtol=1e-12)


def test_variance_of_error_is_unknown_where_an_epoch_is_missing():
    errors = np.random.default_rng(0).random((4, 6))
    errors[1, 5] = errors[2, 0] = np.nan
    assert np.isnan(variance_of_error(errors, 5)).tolist() == [False, True, False, False]
    assert np.isnan(variance_of_error(errors, 7)).all()


def test_rounds_of_the_paper():
    assert pruning_rounds(5, 22) == (5, 10, 15, 20)
    assert pruning_rounds(2, 4) == (2, 4)
    assert pruning_rounds(5, 4) == ()


@pytest.mark.parametrize(("key", "balance"), [("edf20", 0.4929), ("edf78", 0.4687)])
def test_class_limits_of_the_paper(key, balance):
    """b and N as method section 1a states them; a class may lose int(n / 4)."""
    counts = counts_of(key)
    pairs = [(counts[i], counts[j]) for i in range(5) for j in range(i)]
    b = sum(min(pair) / max(pair) for pair in pairs) / 10
    assert b == pytest.approx(balance, abs=5e-5)
    assert class_limits(counts, 4).tolist() == [int(n / 4) for n in counts]


def test_class_limits_of_equal_and_of_missing_classes():
    assert class_limits([40] * 5, 4).tolist() == [40] * 5  # b = 1, N = 1
    assert class_limits([40, 0, 0, 0, 0], 3).tolist() == [10, 0, 0, 0, 0]  # b = 0, N = 4
    # pairs of (30, 20, 10): 2/3, 1/3, 1/2; b = 0.5, N = int(2 * 0.75 + 1) = 2
    assert class_limits([30, 20, 10], 2).tolist() == [15, 10, 5]


@pytest.mark.parametrize("half", ["train", "valid"])
def test_sizes_over_four_rounds_at_the_size_of_edf20(half):
    """21,154 -> 17,233 exactly; no class over its limit; what is gone stays gone."""
    labels = np.repeat(np.arange(5), counts_of("edf20"))
    y = labels[split_halves(labels, 47)[half]]
    limits = class_limits(np.bincount(y), 4)
    random = np.random.default_rng(0)
    rows, allowance, sizes, gone = np.arange(len(y)), limits.copy(), [len(y)], set()
    for _ in range(4):
        voe = random.random(len(rows)) + 2 * (y[rows] == 1) * (
            1 if half == "valid" else -1
        )  # N1 first: its limit must bind
        removed = select_samples(voe, y[rows], rows, 0.05, half == "train", allowance)
        assert not gone & set(rows[removed])
        gone |= set(rows[removed])
        allowance = allowance - np.bincount(y[rows[removed]], minlength=5)
        rows = np.delete(rows, removed)
        sizes.append(len(rows))
    assert sizes == [21154, 20097, 19093, 18139, 17233]
    lost = np.bincount(y, minlength=5) - np.bincount(y[rows], minlength=5)
    assert (lost <= limits).all()
    assert lost[1] == limits[1] == 350
    assert len(gone) == 21154 - 17233


@pytest.mark.parametrize("lowest", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_selection_equals_the_walk_down_the_ranking(seed, lowest):
    random = np.random.default_rng(seed)
    n = 80
    y, ids = random.integers(0, 5, n), random.permutation(1000)[:n]
    voe = random.integers(0, 12, n) / 12  # many ties
    voe[random.integers(0, n, 6)] = np.nan
    allowance = random.integers(0, 8, 5)
    removed = select_samples(voe, y, ids, 0.25, lowest, allowance)
    assert removed.tolist() == walk(voe, y, ids, 0.25, lowest, allowance)
    assert not np.isnan(voe[removed]).any()


def test_the_two_directions_and_ties_to_the_lower_id():
    voe, y = np.array([0.2, 0.1, 0.1, 0.3, 0.3, 0.2]), np.zeros(6, int)
    ids = np.array([5, 9, 3, 8, 2, 1])
    assert select_samples(voe, y, ids, 0.17, True, [9] * 5).tolist() == [2]
    assert select_samples(voe, y, ids, 0.17, False, [9] * 5).tolist() == [4]
    assert select_samples(voe, y, ids, 0.5, True, [9] * 5).tolist() == [1, 2, 5]


def test_fewer_are_removed_only_when_every_class_is_exhausted():
    voe, y = np.linspace(0, 1, 20), np.repeat([0, 1], 10)
    assert len(select_samples(voe, y, np.arange(20), 0.5, True, [3, 7, 0, 0, 0])) == 10
    assert len(select_samples(voe, y, np.arange(20), 0.5, True, [3, 2, 0, 0, 0])) == 5
    assert len(select_samples(np.full(20, np.nan), y, np.arange(20), 0.5, True, [9] * 5)) == 0


def test_ambiguous_samples_are_over_represented_among_the_removed():
    """A small model learns five classes; planted mixtures of two of them swing most, planted label flips do not."""
    generator = torch.Generator().manual_seed(0)
    n, ambiguous, flipped = 1000, np.arange(1000) < 100, (np.arange(1000) >= 100) & (np.arange(1000) < 150)
    centres = torch.randn(5, 12, generator=generator) * 1.5
    y = torch.randint(0, 5, (2 * n,), generator=generator)
    other = (y + torch.randint(1, 5, (2 * n,), generator=generator)) % 5
    mix = torch.zeros(2 * n, 1)
    mix[n:][torch.from_numpy(ambiguous)] = 0.5
    x = (1 - mix) * centres[y] + mix * centres[other] + 0.8 * torch.randn(2 * n, 12, generator=generator)
    y[n:][torch.from_numpy(flipped)] = other[n:][torch.from_numpy(flipped)]
    model = torch.nn.Linear(12, 5)
    torch.nn.init.zeros_(model.weight), torch.nn.init.zeros_(model.bias)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.3)
    errors = np.zeros((n, 5))
    for epoch in range(5):
        for rows in torch.randperm(n, generator=generator).split(16):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
        errors[:, epoch] = prediction_errors(model(x[n:]).detach(), y[n:])
    valid = y[n:].numpy()
    removed = select_samples(
        variance_of_error(errors, 5), valid, np.arange(n), 0.05, False, class_limits(np.bincount(valid), 4)
    )
    assert len(removed) == 50
    assert ambiguous[removed].mean() >= 2 * ambiguous.mean()
    print(
        f"flipped labels: {flipped[removed].mean():.0%} of the removed, {flipped.mean():.0%} of all"
    )  # reported, not expected
