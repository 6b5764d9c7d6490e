"""Folders for transformers: its pipelines give the run's probabilities, of texts of any length, and tags."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from text_kit import LABELLED_TEXTS, SHORT, TAGGED, TAGS, TEXTS, WORDS, _in_float32  # noqa: F401

import crossgraft
from crossgraft.errors import CrossgraftError
from crossgraft.export import export
from crossgraft.run import Run

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

SETS = ["good;short", "bad", "good;short", "bad;short"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    pairs = ([(t, "a title") for t in TEXTS * 8], ["p", "n"] * 16)
    sets = ([f"{t} {i}" for i in range(8) for t in TEXTS], [set(s.split(";")) for s in SETS * 8])
    given: dict[str, tuple[Any, dict[str, Any]]] = {
        "frozen": (LABELLED_TEXTS, {"schedule": "frozen"}),
        "tuned": (LABELLED_TEXTS, {"schedule": "full"}),
        "pairs": (pairs, {"schedule": "frozen"}),
        "words": (LABELLED_TEXTS, {"backbone": "words"}),
        "sets": (sets, {"task": "multilabel", "schedule": "frozen"}),
        "tags": (TAGGED, {"schedule": "full"}),
        "tags of words": (TAGGED, {"backbone": "words"}),
        "crf": (TAGGED, {"backbone": "words", "crf": True}),
    }
    return {
        name: crossgraft.fit(target=target, out=folder / name, **{**SHORT, **options})
        for name, (target, options) in given.items()
    }


def opened(run: Run, path: Path) -> Any:
    """A pipeline of the folder that the run was exported to."""
    found = export(run, "transformers", path / "m.transformers")
    assert found["max_difference"] < 1e-4
    assert not [
        p.name for p in (path / "m.transformers").iterdir() if p.suffix not in (".json", ".safetensors", ".txt")
    ]
    more = {"top_k": None} if found["pipeline"] == "text-classification" else {}
    return transformers.pipeline(found["pipeline"], found["file"], device="cpu", **more)


@pytest.mark.parametrize("kind", ["frozen", "tuned", "words", "sets"])
def test_a_pipeline_gives_the_probabilities_of_the_run(runs: dict[str, Run], kind: str, tmp_path: Path) -> None:
    pipe = opened(runs[kind], tmp_path)
    texts = [*TEXTS, "it was not that good , she said . " * 200, "one " * 255]
    rows = [row["probabilities"] for row in runs[kind].predict(texts)]
    for batch in (1, 4):
        for found, row in zip(pipe(texts, batch_size=batch), rows, strict=True):
            assert {p["label"]: p["score"] for p in found} == pytest.approx(row, abs=1e-4)


def test_pairs_of_texts_too(runs: dict[str, Run], tmp_path: Path) -> None:
    pipe = opened(runs["pairs"], tmp_path)
    pairs = [("it is good", "a book"), ("bad " * 300, "another " * 200)]
    rows = [row["probabilities"] for row in runs["pairs"].predict(np.array(pairs))]
    for (text, pair), row in zip(pairs, rows, strict=True):
        found = pipe({"text": text, "text_pair": pair})
        assert {p["label"]: p["score"] for p in found} == pytest.approx(row, abs=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "roberta"])
def test_models_of_other_kinds(kind: str, tmp_path: Path) -> None:
    from test_language import made

    folder, given = (
        made(tmp_path / "model", kind, head=False),
        ["good it is", "bad it was", "love it", "the awful poor"],
    )
    run = crossgraft.fit(
        target=(given * 8, ["p", "n"] * 16), backbone=str(folder), schedule="full", out=tmp_path / "run", **SHORT
    )
    texts = [*given, "good bad the it " * 30]  # longer than the model, and no token to fill up with of its own
    for found, row in zip(opened(run, tmp_path)(texts, batch_size=5), run.predict(texts), strict=True):
        assert {p["label"]: p["score"] for p in found} == pytest.approx(row["probabilities"], abs=1e-4)


def test_reviews_of_any_length(data: Path, tmp_path: Path) -> None:
    files = sorted((data / "text" / "amazon" / "books").glob("*.txt"))
    each = {file.stem: sorted(file.read_text().splitlines()[:200], key=len)[::20] for file in files}
    texts = [text for own in each.values() for text in own]
    labels = [name for name, own in each.items() for _ in own]
    run = crossgraft.fit(target=(texts, labels), schedule="frozen", baselines=False, guard=False, out=tmp_path / "run")
    assert max(len(row) for row in run.model.backbone.tokens.encode(texts)) > run.model.backbone.tokens.length
    worst = max(
        abs(row["probabilities"][p["label"]] - p["score"])
        for row, own in zip(run.predict(texts), opened(run, tmp_path)(texts), strict=True)
        for p in own
    )
    assert worst < 1e-4


def test_tags_of_an_encoder_need_nothing_of_this_library(runs: dict[str, Run], tmp_path: Path) -> None:
    found = export(runs["tags"], "transformers", tmp_path / "m.transformers")
    code = (
        "import json, sys\nfrom transformers import pipeline\n"
        "pipe = pipeline('token-classification', sys.argv[1], ignore_labels=[], device='cpu')\n"
        "print(json.dumps([[(t['word'], t['entity'], float(t['score'])) for t in s] for s in pipe(sys.argv[2:])]))\n"
        "assert not [m for m in sys.modules if m.startswith('crossgraft')]\n"
    )
    given = [sys.executable, "-c", code, found["file"], *(" ".join(words) for words in WORDS)]
    said = json.loads(subprocess.run(given, capture_output=True, text=True, check=True).stdout)
    log_p, _ = runs["tags"].model.log_probabilities(crossgraft.open_domain((list(WORDS), list(TAGS)), "letters"))
    rows, classes = iter(np.exp(log_p)), runs["tags"].model.task.classes
    for words, tokens in zip(WORDS, said, strict=True):
        firsts = [t for t in tokens if not t[0].startswith("##")]
        assert len(firsts) == len(words)
        for (_, tag, score), p in zip(firsts, rows, strict=False):
            assert tag == classes[p.argmax()]
            assert score == pytest.approx(p.max(), abs=1e-4)


def test_tags_of_words_open_with_it(runs: dict[str, Run], tmp_path: Path) -> None:
    pipe = opened(runs["tags of words"], tmp_path)
    assert pipe("Ada Lovelace wrote")


def test_it_can_learn_on_there(runs: dict[str, Run], tmp_path: Path) -> None:
    export(runs["frozen"], "transformers", tmp_path / "m.transformers")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "m.transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m.transformers")
    given = tokenizer(TEXTS, padding=True, return_tensors="pt")
    labels = torch.tensor([model.config.label2id[y] for y in ("p", "n", "p", "n")])
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    losses = []
    for _ in range(4):
        loss = model(**given, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_what_no_pipeline_says_is_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    vectors = crossgraft.fit(target=(x, ["a", "b"] * 20), backbone="identity", out=tmp_path / "vectors", **SHORT)
    with pytest.raises(CrossgraftError, match="texts and tags, not for vectors"):
        export(vectors, "transformers")
    with pytest.raises(CrossgraftError, match="CRF depend on each other"):
        export(runs["crf"], "transformers")
    both = crossgraft.multi(
        {"d": (TEXTS * 8, {"a": ["p", "n"] * 16, "b": ["y", "y", "z", "z"] * 8})}, ["a", "b"], backbone="words",
        steps=2, baselines=False, out=tmp_path / "both",
    )  # fmt: skip
    with pytest.raises(CrossgraftError, match="several tasks"):
        export(both, "transformers")
    assert not list((tmp_path / "both").glob("*.transformers*"))
