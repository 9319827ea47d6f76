"""Tiny models made on the spot: random weights, a vocabulary of a few words, nothing downloaded."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from serotine.models import ColBERT

WORDS = (
    "a an and at bat bats cave fly insects in is it late long mammals moth night of on river roost small sound "
    "species that the they to tree under what where which wing wings with ##s ##ing ##ed"
).split()


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bare two-layer BERT of 64 positions, as transformers saves it."""
    folder = tmp_path_factory.mktemp("backbone")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *string.punctuation, *string.ascii_lowercase]
    vocabulary += [f"##{letter}" for letter in string.ascii_lowercase] + [word for word in WORDS if len(word) > 1]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=True, model_max_length=64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def model(backbone: Path) -> ColBERT:
    """A fresh ColBERT of 16 dimensions with ColBERT's defaults, queries of 12 tokens, documents of 40."""
    torch.manual_seed(1)
    return ColBERT(str(backbone), embedding_size=16, query_length=12, document_length=40, device="cpu")


TEXTS = [
    "Bats fly at night.",
    "What is a small species of bat?",
    "They roost in a cave, under a tree; it is late!",
    "moth",
    "the river and the sound of wings that fly to the tree at night in the cave under the river",
    "",
    "insects, insects, insects",
]
