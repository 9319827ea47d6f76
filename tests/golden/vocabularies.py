"""Which tokenisers do the tiny checkpoints have?  One of each family, with a vocabulary of a few words.

Each function writes tokenizer.json and tokenizer_config.json as the family's checkpoints have them.
"""

# ruff: noqa: S105, S106 - names of special tokens are not passwords
from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from .texts import WORDS

__all__ = ["byte_bpe", "unigram", "wordpiece"]

_CHARACTERS = [*string.punctuation, *string.digits, *string.ascii_lowercase]


def wordpiece(folder: Path, *, markers: list[str], inside: list[str] = [], max_length: int = 64) -> int:  # noqa: B006
    """Write a lower-casing WordPiece vocabulary (BERT, DistilBERT); return its size.

    inside: entries of the vocabulary itself, as [unused0] is one. markers: tokens added to it.
    """
    specials = ["[PAD]", *inside, "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*specials, *_CHARACTERS, *(f"##{letter}" for letter in _CHARACTERS), *(w for w in WORDS if len(w) > 1)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys([*pieces, "##s", "##ing", "##wings"]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ends
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names["mask_token"] = "[MASK]"
    return _write(tokenizer, folder, names, markers, "BertTokenizer", max_length, do_lower_case=True)


def unigram(folder: Path, *, markers: list[str], max_length: int = 64) -> int:
    """Write a SentencePiece-like unigram vocabulary (XLM-R); return its size."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *_CHARACTERS, *string.ascii_uppercase, *(f"▁{w}" for w in WORDS)]
    pieces = [*dict.fromkeys(pieces), "<mask>"]
    # One price for every piece: the fewest pieces win.
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=3))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    names |= {"unk_token": "<unk>", "mask_token": "<mask>"}
    return _write(tokenizer, folder, names, markers, "PreTrainedTokenizerFast", max_length)


def byte_bpe(folder: Path, *, markers: list[str], kind: str, max_length: int = 64) -> int:
    """Write a byte-level BPE vocabulary; return its size.

    kind: "encoder" ([CLS], [SEP] and [MASK]: ModernBERT), "decoder" (a token at the beginning, none at the end) or
    "bare decoder" (neither).
    """
    specials = ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"] if kind == "encoder" else ["<bos>", "<eos>", "<pad>"]
    vocabulary = {piece: number for number, piece in enumerate(specials)}
    for byte in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary.setdefault(byte, len(vocabulary))
    merges = []
    for word in dict.fromkeys(WORDS):
        for spelling in (word, f"Ġ{word}"):
            for end in range(1, len(spelling)):
                if spelling[: end + 1] not in vocabulary:
                    vocabulary[spelling[: end + 1]] = len(vocabulary)
                    merges.append((spelling[:end], spelling[end]))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if kind == "encoder":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
        )
        names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
        names["mask_token"] = "[MASK]"
    else:
        if kind == "decoder":
            tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
        names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return _write(tokenizer, folder, names, markers, "PreTrainedTokenizerFast", max_length)


def _write(
    tokenizer: Tokenizer,
    folder: Path,
    names: dict[str, str],
    markers: list[str],
    class_name: str,
    max_length: int,
    **options: Any,
) -> int:
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names.values()])
    # As `add_tokens` of transformers adds a string: an ordinary token, looked for in the normalised text.
    tokenizer.add_tokens([AddedToken(marker, normalized=True) for marker in markers])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        **names,
        **options,
        "tokenizer_class": class_name,
        "model_max_length": max_length,
        "padding_side": "right",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    return tokenizer.get_vocab_size()
