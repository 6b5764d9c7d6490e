"""Frozen features of reviews, empty store, beside a plain transformers loop and sentence-transformers."""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

import amazon
import cells
import numpy as np

N = 128


def main() -> None:
    os.environ["CROSSGRAFT_CACHE"] = tempfile.mkdtemp()
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    from crossgraft import backbones, features
    from crossgraft.backbones.text_models import DEPTHS, _folder
    from crossgraft.domains import open_domain

    texts = amazon.reviews("kitchen", 3000)[0][:: 6000 // N][:N]
    domain = open_domain(texts, "reviews")
    backbone, folder = backbones.load("auto", domain), _folder("auto")
    assert backbone.tokens is not None
    own = backbone.dim // len(DEPTHS)  # numbers of the last layer, which come last
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder).eval()
    sentences = SentenceTransformer(str(folder), device="cpu")
    short = np.array([len(row) <= backbone.tokens.length for row in backbone.tokens.encode(texts)])
    features.features(open_domain(["warm"], "warm"), backbone)

    def plain() -> np.ndarray:
        out = []
        with torch.inference_mode():
            for i in range(0, N, 32):
                batch = tokenizer(texts[i : i + 32], padding=True, truncation=True, max_length=256, return_tensors="pt")
                states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None].float()
                out.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)))
        return np.asarray(torch.cat(out).numpy())

    ways: dict[str, Any] = {
        "plain loop, batches of 32": plain,
        "sentence-transformers encode": lambda: sentences.encode(texts),
        "crossgraft, long texts whole": lambda: features.features(domain, backbone).values[:, -own:],
    }
    rows, first = [], None
    for name, way in ways.items():
        wall, cpu = time.perf_counter(), time.process_time()
        found = way()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        first = (found, cpu) if first is None else first
        cosine = (found * first[0]).sum(1)[short].min()
        rows.append([name, f"{N / cpu:.1f}", f"{first[1] / cpu:.2f}", f"{wall:.1f}", f"{cosine:.6f}"])
    cut = f"{N - short.sum()} of {N} are longer than 256 tokens"
    head = [
        "way",
        "reviews a CPU second",
        "times the loop",
        "seconds",
        "lowest cosine to the loop, texts up to 256 tokens",
    ]
    cells.table("texts", head, rows)
    print(cut)


if __name__ == "__main__":
    main()
