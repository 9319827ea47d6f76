"""What does a model of the ColPali kind look like?  A tiny one of transformers' own: images or queries in, unit vectors
out, nothing projected or normalised outside of it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, ColPaliConfig, ColPaliForRetrieval, ColPaliProcessor, SiglipImageProcessor

from .backbones import random_weight
from .vocabularies import byte_bpe

__all__ = ["PATCHES", "colpali"]

PATCHES = 4
"""Patches of an image, each a token: 2 by 2 of 14 by 14 pixels."""


def colpali(folder: Path, *, dim: int = 8) -> Path:
    """Write a model and its processor as transformers does; return the folder."""
    folder.mkdir(parents=True)
    byte_bpe(folder, markers=["<image>"], kind="decoder", max_length=512)
    images = SiglipImageProcessor(size={"height": 28, "width": 28}, image_seq_length=PATCHES)
    processor = ColPaliProcessor(image_processor=images, tokenizer=AutoTokenizer.from_pretrained(str(folder)))
    processor.save_pretrained(folder)
    text = {"model_type": "gemma", "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "head_dim": 8}
    text |= {"num_attention_heads": 4, "num_key_value_heads": 1, "vocab_size": len(processor.tokenizer)}
    vision = {"model_type": "siglip_vision_model", "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24}
    vision |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14, "vision_use_head": False}
    vlm = {"model_type": "paligemma", "text_config": text, "vision_config": vision, "projection_dim": 32}
    vlm |= {"image_token_index": processor.image_token_id, "hidden_size": 32}
    model = ColPaliForRetrieval(ColPaliConfig(vlm_config=vlm, embedding_dim=dim))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(random_weight(name, tuple(parameter.shape))))
    model.save_pretrained(folder)
    return folder
