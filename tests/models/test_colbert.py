"""A ColBERT has the settings that were asked for, and its saves are the plain class's own, to the last bit."""

from __future__ import annotations

import copy
import json
import pickle
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from torch import nn

from serotine.errors import InvalidInput
from serotine.models import ColBERT, HierarchicalPooling

from .conftest import TEXTS


def test_a_bare_backbone_gets_colberts_defaults(backbone: Path) -> None:
    model = ColBERT(str(backbone), document_length=60)
    assert [type(module) for module in model] == [Transformer, Dense, MultiVectorMask, Normalize]
    assert (model.query_prefix, model.document_prefix) == ("[Q] ", "[D] ")
    assert (model.query_length, model.document_length) == (32, 60)
    assert model.do_query_expansion
    assert not model.attend_to_expansion_tokens
    assert model.skiplist_words == list(string.punctuation)
    assert model.get_embedding_dimension() == 128
    assert not model[1].linear.bias


def test_names_of_pylate_that_say_nothing_new_are_understood(backbone: Path) -> None:
    with pytest.warns(UserWarning, match="ColBERT accepts .* no effect here: truncation=True") as caught:
        model = ColBERT(str(backbone), document_length=60, truncation=True)
    assert [str(each.message) for each in caught if "no effect" in str(each.message)] == [str(caught[0].message)]
    assert caught[0].filename == __file__
    assert model.get_sentence_embedding_dimension() == model.get_embedding_dimension() == 128


def test_what_the_migration_page_names_instead_of_pylates_helpers_is_there(model: ColBERT) -> None:
    prefix, *words = model.tokenizer.convert_tokens_to_ids([model.document_prefix, *model.skiplist_words])
    (ids,) = model.tokenize(["Bats fly, at night."], is_query=False)["input_ids"]
    assert ids[1] == prefix
    (mask,) = model.encode(["Bats fly, at night."], is_query=False, output_value=None)["masks"]
    assert mask.tolist() == [int(token) not in words for token in ids]
    vectors = torch.tensor(model.encode("Bats fly, at night.", is_query=False))
    method = HierarchicalPooling(2, num_protected_tokens=1)
    pooled = method.pool_one(vectors)
    expected = model.encode("Bats fly, at night.", is_query=False, token_pooling=method)
    np.testing.assert_allclose(pooled, expected, atol=1e-6)
    head = Dense(32, 8, activation_function=None, module_input_name="token_embeddings")
    assert ColBERT(modules=[model[0], head], device="cpu").encode("Bats fly").shape[1] == 8


def test_the_default_document_length_is_an_error_where_the_backbone_is_shorter(backbone: Path) -> None:
    with pytest.raises(InvalidInput, match=r"document_length=180 .* maximum of 64"):
        ColBERT(str(backbone))


def test_a_query_is_the_marker_the_text_and_mask_tokens(model: ColBERT) -> None:
    features = model.tokenize(["Bats fly"], is_query=True)
    tokens = model.tokenizer.convert_ids_to_tokens(features["input_ids"][0])
    assert tokens == ["[CLS]", "[Q] ", "bats", "fly", "[SEP]", *["[MASK]"] * 7]
    assert features["attention_mask"][0].tolist() == [1] * 5 + [0] * 7
    assert features["task"] == "query"
    assert model.encode("Bats fly").shape == (12, 16)


def test_expansion_tokens_are_attended_to_when_asked(backbone: Path) -> None:
    model = ColBERT(str(backbone), query_length=12, document_length=40, attend_to_expansion_tokens=True)
    assert model.tokenize(["Bats fly"])["attention_mask"].all()


def test_a_document_is_the_marker_and_the_text_and_its_punctuation_is_not_scored(model: ColBERT) -> None:
    features = model.tokenize(["Bats fly, at night."], is_query=False)
    tokens = model.tokenizer.convert_ids_to_tokens(features["input_ids"][0])
    assert tokens == ["[CLS]", "[D] ", "bats", "fly", ",", "at", "night", ".", "[SEP]"]
    assert features["task"] == "document"
    assert model.encode("Bats fly, at night.", is_query=False).shape == (7, 16)


def test_padding_when_tokenising_goes_to_the_full_length(model: ColBERT) -> None:
    assert model.tokenize(["a", "bat"], is_query=False, pad=True)["input_ids"].shape == (2, 40)
    assert model.tokenize(["a", "bat"], is_query=False)["input_ids"].shape == (2, 4)
    assert model.tokenize(["a"], task="document")["task"] == "document"


def test_markers_in_the_vocabulary_leave_other_special_tokens_alone(backbone: Path, tmp_path: Path) -> None:
    plain = ColBERT(str(backbone), document_length=40)
    plain.tokenizer.add_special_tokens({"additional_special_tokens": ["<kept>"]})
    plain.save_pretrained(str(tmp_path), create_model_card=False)
    again = ColBERT(str(tmp_path), query_prefix="[QUERY] ")
    assert again.tokenizer.tokenize("<kept>") == ["<kept>"]
    assert again.tokenizer.tokenize("[QUERY] bat") == ["[QUERY] ", "bat"]
    assert "<kept>" in again.tokenizer.all_special_tokens


def test_a_padded_vocabulary_is_not_made_smaller(backbone: Path, tmp_path: Path) -> None:
    model = ColBERT(str(backbone), document_length=40)
    rows = len(model.tokenizer) + 64
    model[0].model.resize_token_embeddings(rows)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = ColBERT(str(tmp_path), document_prefix="[DOC] ")
    assert again[0].model.get_input_embeddings().weight.shape[0] == rows


@pytest.mark.parametrize("expansion", [True, False])
@pytest.mark.parametrize("prefixes", [("[Q] ", "[D] "), ("", "")])
@pytest.mark.parametrize("skiplist", [[], ["bat", ","]])
@pytest.mark.parametrize("query_skiplist", [[], ["the", ","]])
def test_a_save_loads_in_the_plain_class_with_difference_zero(
    backbone: Path,
    tmp_path: Path,
    expansion: bool,
    prefixes: tuple[str, str],
    skiplist: list[str],
    query_skiplist: list[str],
) -> None:
    model = ColBERT(
        str(backbone),
        query_length=12,
        document_length=40,
        do_query_expansion=expansion,
        query_prefix=prefixes[0],
        document_prefix=prefixes[1],
        skiplist_words=skiplist,
        query_skiplist_words=query_skiplist,
        prompts={"query": "what is ", "document": ""},
    )
    model.save_pretrained(str(tmp_path), create_model_card=False)
    config = json.loads((tmp_path / "config_sentence_transformers.json").read_text())
    assert config["model_type"] == "MultiVectorEncoder"
    for key in ("query_prefix", "document_prefix", "do_query_expansion", "query_length", "attend_to_expansion_tokens"):
        assert key in config
    for loaded in (MultiVectorEncoder(str(tmp_path)), ColBERT(str(tmp_path))):
        for mine, theirs in (
            (model.encode_query(TEXTS), loaded.encode_query(TEXTS)),
            (model.encode_document(TEXTS), loaded.encode_document(TEXTS)),
        ):
            for left, right in zip(mine, theirs, strict=True):
                assert left.shape == right.shape
                torch.testing.assert_close(left, right, rtol=0, atol=3e-7)
        # In one and the same batch, nothing differs at all.
        assert torch.equal(model.encode_query(TEXTS[0]), loaded.encode_query(TEXTS[0]))
        assert torch.equal(model.encode_document(TEXTS[0]), loaded.encode_document(TEXTS[0]))


def test_loading_keeps_every_setting(backbone: Path, tmp_path: Path) -> None:
    model = ColBERT(
        str(backbone),
        embedding_size=24,
        query_length=10,
        document_length=30,
        query_prefix="<q> ",
        document_prefix="<d> ",
        attend_to_expansion_tokens=True,
        skiplist_words=["the"],
        query_skiplist_words=["bat", "the"],
    )
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = ColBERT(str(tmp_path))
    names = ("query_prefix", "document_prefix", "query_length", "document_length", "do_query_expansion")
    names += ("attend_to_expansion_tokens", "skiplist_words", "query_skiplist_words", "prompts")
    assert [getattr(again, name) for name in names] == [getattr(model, name) for name in names]
    assert again.get_embedding_dimension() == 24


def test_arguments_override_a_checkpoint(model: ColBERT, tmp_path: Path) -> None:
    model.save_pretrained(str(tmp_path), create_model_card=False)
    changed = ColBERT(
        str(tmp_path), query_length=20, document_length=50, do_query_expansion=False, skiplist_words=["bat"]
    )
    assert (changed.query_length, changed.document_length) == (20, 50)
    assert changed.encode("bats").shape == (4, 16)
    assert changed.encode("a bat, a moth", is_query=False).shape == (3 + 4, 16)


def test_each_task_has_a_skiplist_of_its_own(backbone: Path, tmp_path: Path) -> None:
    def tokens(model: ColBERT) -> list[list[list[str]]]:
        return [model.scored_tokens(["the bat, the moth"], is_query=is_query) for is_query in (True, False)]

    settings = {"query_prefix": "", "document_prefix": "", "do_query_expansion": False, "document_length": 40}
    all_tokens = ["[CLS]", "the", "bat", ",", "the", "moth", "[SEP]"]
    model = ColBERT(str(backbone), skiplist_words=["the"], query_skiplist_words=[","], **settings)
    queries, documents = ([token for token in all_tokens if token != dropped] for dropped in (",", "the"))
    assert tokens(model) == [[queries], [documents]]
    assert [len(model.encode("the bat, the moth", is_query=is_query)) for is_query in (True, False)] == [6, 5]
    model.save_pretrained(str(tmp_path), create_model_card=False)
    for arguments, expected in (
        ({}, [[queries], [documents]]),
        ({"skiplist_words": []}, [[queries], [all_tokens]]),
        ({"query_skiplist_words": []}, [[all_tokens], [documents]]),
        ({"query_skiplist_words": ["the"]}, [[documents], [documents]]),
    ):
        assert tokens(ColBERT(str(tmp_path), **arguments)) == expected


def test_a_mask_of_both_tasks_is_read_and_taken_apart(backbone: Path) -> None:
    def modules() -> list[torch.nn.Module]:
        mask = MultiVectorMask(skiplist_words=["the"], skiplist_tasks=["query", "document"])
        return [Transformer(str(backbone)), mask, Normalize("token_embeddings")]

    def check(model: ColBERT, *, queries: list[str], documents: list[str]) -> None:
        assert (model.query_skiplist_words, model.skiplist_words) == (queries, documents)
        for is_query, words in ((True, queries), (False, documents)):
            [tokens] = model.scored_tokens(["the bat"], is_query=is_query)
            assert tokens == [token for token in ("[CLS]", "the", "bat", "[SEP]") if token not in words]

    both = ColBERT(modules=modules())
    check(both, queries=["the"], documents=["the"])
    assert len(list(both)) == 3
    check(ColBERT(modules=modules(), skiplist_words=[]), queries=["the"], documents=[])
    check(ColBERT(modules=modules(), query_skiplist_words=[]), queries=[], documents=["the"])


def test_a_mask_of_queries_drops_nothing_from_documents(backbone: Path, tmp_path: Path) -> None:
    mask = MultiVectorMask(skiplist_words=["the"], skiplist_tasks="query")
    model = ColBERT(modules=[Transformer(str(backbone)), mask, Normalize("token_embeddings")])
    model.save_pretrained(str(tmp_path), create_model_card=False)
    # As a save has it whose writer took the words of this mask for those of documents.
    config = json.loads((tmp_path / "config_sentence_transformers.json").read_text())
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({**config, "skiplist_words": ["the"]}))
    for each in (model, ColBERT(str(tmp_path))):
        assert (each.query_skiplist_words, each.skiplist_words) == (["the"], [])
        assert each.scored_tokens(["the bat"], is_query=False) == [["[CLS]", "the", "bat", "[SEP]"]]


def test_words_of_several_masks_come_into_two_and_masks_that_keep_some_tokens_stay(backbone: Path) -> None:
    transformer = Transformer(str(backbone))
    kept = transformer.tokenizer.convert_tokens_to_ids(["[CLS]", "the", "bat", ","])
    modules = [
        transformer,
        MultiVectorMask(skiplist_words=["the"]),
        MultiVectorMask(skiplist_words=["bat", "the"], skiplist_tasks=["query", "document"]),
        MultiVectorMask(keep_only_token_ids=kept),
        Normalize("token_embeddings"),
    ]
    model = ColBERT(modules=modules, query_skiplist_words=[",", "[MASK]"], query_length=12, do_query_expansion=True)
    assert model.skiplist_words == ["the", "bat"]
    assert [type(module) for module in model] == [Transformer, *[MultiVectorMask] * 3, Normalize]
    assert model.scored_tokens(["the bat, the moth"], is_query=False) == [["[CLS]", ","]]
    assert model.scored_tokens(["the bat, the moth"], is_query=True) == [
        ["[CLS]", "the", "bat", "the", "moth", "[SEP]"]
    ]


def test_lists_of_words_are_the_models_own(backbone: Path) -> None:
    words = ["the"]
    model = ColBERT(str(backbone), skiplist_words=words, query_skiplist_words=words, document_length=40)
    words.append("bat")
    assert (model.skiplist_words, model.query_skiplist_words) == (["the"], ["the"])
    new = ColBERT(str(backbone), document_length=40)
    new[-2].skiplist_words.append("bat")
    assert ColBERT(str(backbone), document_length=40).skiplist_words == list(string.punctuation)


def test_another_width_on_a_trained_checkpoint_appends_a_projection_and_warns(
    model: ColBERT, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model.save_pretrained(str(tmp_path), create_model_card=False)
    wider = ColBERT(str(tmp_path), embedding_size=48)
    assert [type(module) for module in wider] == [Transformer, Dense, Dense, MultiVectorMask, Normalize]
    assert wider.encode("bat").shape == (12, 48)
    assert "embedding_size=48" in caplog.text


def test_bias_is_that_of_a_new_projection(backbone: Path) -> None:
    assert ColBERT(str(backbone), bias=True, document_length=40)[1].linear.bias is not None


def test_modules_without_a_mask_are_completed_and_with_one_are_left_as_they_are(backbone: Path) -> None:
    bare = ColBERT(modules=[Transformer(str(backbone))], document_length=40, embedding_size=8)
    assert [type(module) for module in bare] == [Transformer, Dense, MultiVectorMask, Normalize]
    assert bare.do_query_expansion
    own = ColBERT(modules=[Transformer(str(backbone)), MultiVectorMask(), Normalize("token_embeddings")])
    assert len(own) == 3
    assert not own.do_query_expansion
    assert own.query_prefix == ""
    head = nn.Identity()
    mlp = ColBERT(
        modules=[
            Transformer(str(backbone)),
            Dense(32, 64, activation_function=head, module_input_name="token_embeddings"),
            Dense(64, 8, activation_function=head, module_input_name="token_embeddings"),
        ],
        document_length=40,
    )
    assert mlp.encode("bat").shape == (32, 8)


def test_a_dense_checkpoint_with_a_trained_projection_keeps_it(backbone: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(backbone))
    dense = SentenceTransformer(
        modules=[transformer, Pooling(32), Dense(32, 20, bias=False, activation_function=nn.Identity())]
    )
    dense.save(str(tmp_path))
    converted = ColBERT(str(tmp_path), document_length=40)
    assert torch.equal(converted[1].linear.weight, dense[2].linear.weight)
    assert converted.query_prefix == "[Q] "
    assert converted.encode("bat").shape == (32, 20)


def test_settings_change_after_loading(model: ColBERT) -> None:
    model.query_length = 20
    assert model.encode("bat").shape == (20, 16)
    model.do_query_expansion = False
    assert model.encode("bat").shape == (4, 16)
    assert model.query_length == 20
    model.document_length = 5
    assert model.encode(TEXTS[4], is_query=False).shape == (5, 16)
    with pytest.raises(InvalidInput, match="maximum of 64"):
        model.document_length = 65
    assert model.document_length == 5


def test_prompts_go_after_the_marker_and_are_the_same_in_training_and_inference(backbone: Path) -> None:
    model = ColBERT(
        str(backbone),
        document_length=40,
        prompts={"query": "what is ", "where": "where is "},
        do_query_expansion=False,
    )

    def tokens(**kwargs: object) -> list[str]:
        ids = model.preprocess(["bats"], **kwargs)["input_ids"][0]
        return model.tokenizer.convert_ids_to_tokens(ids)[1:-1]

    assert tokens(task="query") == ["[Q] ", "what", "is", "bats"]
    assert tokens(task="query", prompt="where is ") == ["[Q] ", "where", "is", "bats"]
    assert tokens(task="query", prompt="[Q] where is ") == ["[Q] ", "where", "is", "bats"]
    assert tokens(task="document") == ["[D] ", "bats"]
    assert np.array_equal(model.encode("bats", prompt_name="where"), model.encode("bats", prompt="where is "))
    assert not np.array_equal(model.encode("bats", prompt_name="where"), model.encode("bats"))


def test_a_copy_and_a_pickle_of_a_model_encode_the_same(model: ColBERT) -> None:
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301 - our own bytes
        assert np.array_equal(clone.encode("bats"), model.encode("bats"))


def test_the_default_prompt_is_not_put_before_documents(backbone: Path, tmp_path: Path) -> None:
    model = ColBERT(
        str(backbone),
        document_length=40,
        prompts={"query": "what is ", "passage": "the "},
        default_prompt_name="query",
    )
    tokens = model.scored_tokens(["bats"], is_query=False)[0]
    assert tokens == ["[CLS]", "[D] ", "the", "bats", "[SEP]"]
    model.save_pretrained(str(tmp_path), create_model_card=False)
    plain = MultiVectorEncoder(str(tmp_path))
    assert torch.equal(plain.encode_document("bats"), model.encode_document("bats"))
    assert torch.equal(plain.encode_query("bats"), model.encode_query("bats"))


def test_query_expansion_alone_adds_no_markers_to_a_trained_checkpoint(backbone: Path, tmp_path: Path) -> None:
    plain = MultiVectorEncoder(str(backbone))
    plain.save_pretrained(str(tmp_path), create_model_card=False)
    model = ColBERT(str(tmp_path), do_query_expansion=True)
    assert (model.query_prefix, model.document_prefix, model.document_length) == ("", "", None)
    assert len(model.tokenizer) == len(plain.tokenizer)
    assert model.query_length == 32


def test_the_name_of_a_similarity_in_every_spelling(backbone: Path) -> None:
    from sentence_transformers.util import SimilarityFunction

    for name in ("MaxSim", "maxsim", SimilarityFunction.MAXSIM):
        assert ColBERT(str(backbone), document_length=40, similarity_fn_name=name).similarity_fn_name == "maxsim"
    with pytest.raises(ValueError, match="cosine"):
        ColBERT(str(backbone), document_length=40, similarity_fn_name="cosine")


def test_similarity_is_maxsim(model: ColBERT) -> None:
    queries, documents = model.encode_query(TEXTS[:2]), model.encode_document(TEXTS[2:5])
    scores = model.similarity(queries, documents)
    assert scores.shape == (2, 3)
    expected = (queries[1] @ documents[2].T).max(dim=1).values.sum()
    torch.testing.assert_close(scores[1, 2], expected)
    pairwise = model.similarity_pairwise(queries, documents[:2])
    torch.testing.assert_close(pairwise, scores.diagonal())
    as_arrays = [rows.numpy() for rows in queries]
    for left in (queries, as_arrays, queries[0]):
        elsewhere = model.similarity(left, documents, device="cpu", chunk_elements=100)
        torch.testing.assert_close(elsewhere, scores[: len(elsewhere)])
    packed = model.encode(TEXTS[2:5], is_query=False, packed=True)
    for given in ((rows for rows in documents), packed):
        torch.testing.assert_close(model.similarity(queries, given, device="cpu"), scores)


def test_mean_maxsim_divides_by_the_query_tokens(backbone: Path) -> None:
    model = ColBERT(str(backbone), document_length=40, similarity_fn_name="meanmaxsim", do_query_expansion=False)
    queries, documents = model.encode_query(["bats fly", "a"]), model.encode_document(["the night"])
    expected = [(query @ documents[0].T).max(dim=1).values.mean() for query in queries]
    torch.testing.assert_close(model.similarity(queries, documents)[:, 0], torch.stack(expected))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"query_length": 0}, "query_length must be a positive integer, got 0"),
        ({"document_length": -1}, "document_length must be"),
        ({"embedding_size": 1.5}, "embedding_size must be"),
        ({"query_prefix": 3}, "query_prefix must be a string"),
        ({"skiplist_words": "abc"}, "skiplist_words must be a list"),
        ({"query_skiplist_words": [3]}, "query_skiplist_words must be a list"),
        ({"truncate_dim": 0}, "truncate_dim must be"),
        ({"query_length": 65}, "query_length=65 is above the backbone's maximum of 64"),
        ({"query_length": 2}, "query_length=2 leaves no room for text beside the 2 special tokens"),
        ({"truncate_dim": True}, "truncate_dim must be"),
        ({"truncate_dim": 129}, "truncate_dim=129 is more than the 128 dimensions"),
    ],
)
def test_impossible_settings_are_named(backbone: Path, argument: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        ColBERT(str(backbone), **{"document_length": 40, **argument})


def test_the_usage_tip_of_a_pull_request_imports_this_class(model: ColBERT) -> None:
    assert "from serotine.models import ColBERT" in model._push_to_hub_usage_tip("someone/model")
