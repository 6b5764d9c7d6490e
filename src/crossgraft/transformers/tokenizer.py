"""The tokenizer of an exported run: what is too long for the layers becomes chunks, cut where the run cuts."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import BatchEncoding, PreTrainedTokenizerFast

from crossgraft.backbones.backbone import NO_TOKEN, TYPE_BITS
from crossgraft.backbones.tokenizer import rows_of


class CrossgraftTokenizer(PreTrainedTokenizerFast):
    """As its parent, but that a text of more than `model_max_length` tokens becomes chunks of so many, every one but
    the last filled up to it; with `truncation` it is cut as ever."""

    def __call__(self, text: Any = None, text_pair: Any = None, *args: Any, **options: Any) -> BatchEncoding:
        """Token ids, mask and types of a text, or of several."""
        one = isinstance(text, str)
        texts: list[Any] = [text] if one else list(text or [None])
        if args or options.keys() - {"padding", "return_tensors"} or not all(isinstance(t, str) for t in texts):
            usual: BatchEncoding = super().__call__(text, text_pair, *args, **options)
            return usual
        if text_pair is not None:
            texts = list(zip(texts, [text_pair] if one else text_pair, strict=True))
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.no_truncation()
        filler, own = self.pad_token_id or 0, (1 << TYPE_BITS) - 1
        rows = rows_of(self.backend_tokenizer, texts, self.model_max_length, typed=True)
        values = {
            "input_ids": [np.where(row == NO_TOKEN, filler, row & own).tolist() for row in rows],
            "token_type_ids": [np.where(row == NO_TOKEN, 0, row >> TYPE_BITS).tolist() for row in rows],
            "attention_mask": [(row != NO_TOKEN).astype(int).tolist() for row in rows],
        }
        values = {name: own for name, own in values.items() if name in self.model_input_names}
        tensors = options.get("return_tensors")
        if one and tensors is None:
            values = {name: own[0] for name, own in values.items()}
        found: BatchEncoding = self.pad(values, padding=options.get("padding", False), return_tensors=tensors)
        return found
