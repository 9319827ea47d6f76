"""Proves that what is trimmed, budgeted and trained by is the scoring mask, not the attention mask.

Expansion tokens of a query are not attended to and are scored; punctuation of a document is attended to and not scored.
"""

from __future__ import annotations

import pytest
import torch

from serotine.losses import CachedContrastive, Contrastive, Distillation
from serotine.losses.cached_contrastive import _plan
from serotine.losses.embedding import read_columns, scoring_output
from serotine.scores import colbert_scores
from serotine.utils import ColBERTCollator
from tests.losses.conftest import assert_same, run

ROWS = [
    {"query": "what", "positive": "bats, moths, wings! fly.", "negative": "tree"},
    {"query": "where is the small bat", "positive": "the river; the cave", "negative": "a, a"},
    {"query": "a moth", "positive": "moth", "negative": "night, late, and long, and under the tree."},
]


@pytest.fixture
def features(calm):
    batch = ColBERTCollator(calm.eval().tokenize)(ROWS)
    names = ("query_", "positive_", "negative_")
    columns = [
        {key.removeprefix(name): value for key, value in batch.items() if key.startswith(name)} for name in names
    ]
    return [dict(each) for each in read_columns(columns, loss="it").features]


def test_expansion_tokens_are_scored_and_punctuation_is_not(calm, features):
    attended = features[0]["attention_mask"].bool()
    queries, documents = (scoring_output(calm(dict(each))) for each in features[:2])
    assert attended.sum(dim=1).tolist() == [4, 8, 5]
    assert queries.mask.all()  # 12 of each, whatever is attended to
    punctuation = torch.tensor(calm.tokenizer.convert_tokens_to_ids([",", "!", ".", ";"]))
    skipped = torch.isin(features[1]["input_ids"], punctuation)
    assert skipped.sum() == 5
    assert not documents.mask[skipped].any()
    assert torch.equal(documents.mask, features[1]["attention_mask"].bool() & ~skipped)


def test_gradients_flow_through_every_scored_token_and_no_other(calm, features):
    queries, documents = (scoring_output(calm(dict(each))) for each in features[:2])
    tokens = [side.tokens.detach().requires_grad_() for side in (queries, documents)]
    colbert_scores(*tokens, queries.mask, documents.mask).sum().backward()
    assert tokens[0].grad.abs().sum(dim=-1).gt(0).all()  # un-attended expansion tokens too
    hit = tokens[1].grad.abs().sum(dim=-1).gt(0)
    assert hit.any()
    assert not (hit & ~documents.mask).any()
    # By the rule written out: each query token takes its best scored token of each document.
    similarities = torch.einsum("ash,bth->abst", queries.tokens, documents.tokens)
    similarities = similarities.masked_fill(~documents.mask[None, :, None], -torch.inf)
    best = torch.zeros_like(documents.mask)
    for document in range(3):
        best[document, similarities[:, document].argmax(dim=-1).flatten()] = True
    assert torch.equal(hit, best)


def test_budgets_and_order_count_expansion_tokens(calm, features):
    # 12 tokens of each query are computed: a budget of 24 holds two queries, however few are attended to.
    assert _plan(features[0], 32, 24).ranges == [(0, 2), (2, 3)]
    assert _plan(features[0], 32, 12).ranges == [(0, 1), (1, 2), (2, 3)]
    # Documents are as long as what is attended to, punctuation included.
    lengths = features[1]["attention_mask"].sum(dim=1)
    plan = _plan(features[1], 1, None)
    assert plan.features["attention_mask"].sum(dim=1).tolist() == sorted(lengths.tolist())


@pytest.mark.parametrize("budget", [None, 12, 30])
def test_mini_batches_that_are_trimmed_train_as_the_whole_does(calm, features, budget):
    expected = run(Contrastive(calm), features)
    assert_same(run(CachedContrastive(calm, mini_batch_size=1, mini_batch_num_tokens=budget), features), expected)


def test_padding_further_changes_nothing(calm, features):
    teacher = torch.tensor([[0.9, 0.1], [1.0, 0.0], [0.3, 0.4]])
    wide = [
        features[0],
        *(
            calm.preprocess(
                [row[name] for row in ROWS], task="document", processing_kwargs={"text": {"padding": "max_length"}}
            )
            for name in ("positive", "negative")
        ),
    ]
    assert wide[1]["input_ids"].shape == (3, 40)
    for loss, labels in ((Contrastive(calm), None), (Distillation(calm, normalize_scores=False), teacher)):
        assert_same(run(loss, wide, labels), run(loss, features, labels))


def test_without_expansion_only_what_is_attended_to_is_scored(calm):
    calm.do_query_expansion = False
    features = calm.preprocess(["what", "where is the small bat"], task="query")
    mask = scoring_output(calm.eval()(features)).mask
    assert mask.sum(dim=1).tolist() == [4, 8]
