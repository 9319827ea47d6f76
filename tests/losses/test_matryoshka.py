"""Proves that `Matryoshka` sums the losses of vectors cut short and brought to norm 1."""

from __future__ import annotations

import pytest
import torch

from serotine.errors import InvalidInput
from serotine.losses import CachedContrastive, Contrastive, Distillation, MarginMSE, Matryoshka
from serotine.scores import maxsim
from tests.losses.conftest import NEGATIVES, POSITIVES, QUERIES, TEACHER, assert_same, batch_of, run, taught_batch


def test_the_loss_is_the_weighted_sum_over_widths_of_normalised_vectors(quiet):
    value, _ = run(Matryoshka(quiet, Contrastive(quiet), [16, 5], [1.0, 0.3]), batch_of(quiet))
    queries = quiet.encode_query(QUERIES, convert_to_numpy=False)
    documents = quiet.encode_document(
        [text for pair in zip(POSITIVES, NEGATIVES, strict=True) for text in pair], convert_to_numpy=False
    )
    expected = 0.0
    for dim, weight in ((16, 1.0), (5, 0.3)):
        sides = [
            [torch.nn.functional.normalize(each[:, :dim], dim=1) for each in side] for side in (queries, documents)
        ]
        scores = torch.as_tensor(maxsim(*sides))
        expected += weight * float(torch.nn.functional.cross_entropy(scores, torch.arange(6) * 2))
    assert value == pytest.approx(expected, rel=1e-4)


def test_the_full_width_alone_is_the_loss_itself(quiet):
    assert_same(
        run(Matryoshka(quiet, Contrastive(quiet), [16]), batch_of(quiet)), run(Contrastive(quiet), batch_of(quiet))
    )


def test_cached_gradients_are_the_same(quiet):
    expected = run(Matryoshka(quiet, Contrastive(quiet), [16, 8, 3]), batch_of(quiet))
    cached = Matryoshka(quiet, CachedContrastive(quiet, mini_batch_size=2), [16, 8, 3])
    assert cached.uses_gradient_cache
    assert_same(run(cached, batch_of(quiet)), expected)


@pytest.mark.parametrize("loss", [Distillation, MarginMSE])
def test_losses_of_a_teacher_take_widths_as_well(quiet, loss):
    one = run(loss(quiet), taught_batch(quiet), TEACHER)[0]
    both = run(Matryoshka(quiet, loss(quiet), [16, 8]), taught_batch(quiet), TEACHER)[0]
    other = run(Matryoshka(quiet, loss(quiet), [8]), taught_batch(quiet), TEACHER)[0]
    assert both == pytest.approx(one + other, rel=1e-5)


def test_widths_drawn_per_step_are_the_same_for_every_process(quiet):
    losses = [Matryoshka(quiet, Contrastive(quiet), [16, 12, 8, 4], n_dims_per_step=1) for _ in range(2)]
    values = [[run(loss, batch_of(quiet))[0] for _ in range(4)] for loss in losses]
    assert values[0] == values[1]
    assert len(set(values[0])) > 1


@pytest.mark.parametrize(
    ("dims", "options"),
    [([17], {}), ([0], {}), ([], {}), ([8, 4], {"matryoshka_weights": [1.0]}), ([8], {"n_dims_per_step": 2})],
)
def test_widths_that_make_no_sense_are_refused(quiet, dims, options):
    with pytest.raises(InvalidInput, match="dims"):
        Matryoshka(quiet, Contrastive(quiet), dims, **options)
