"""Exports of texts, sentences and clips: tokens of a tokenizer of transformers go in, the run's numbers come out."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_kit import manifest, strings
from text_kit import LABELLED_TEXTS, SHORT, TAGGED, TAGS, TEXTS, WORDS, _in_float32  # noqa: F401

import crossgraft
from crossgraft.assembled import Parts
from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError
from crossgraft.export import NEEDS, SUFFIX, export
from crossgraft.run import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    clips = str(manifest(folder, "clips.csv", {"x": 200.0}, each=5))
    said = str(strings(folder, "said", "x", 200.0, 8, 1, tested=4))
    given: dict[str, tuple[Any, dict[str, Any]]] = {
        "text": (LABELLED_TEXTS, {"schedule": "frozen"}),
        "words": (LABELLED_TEXTS, {"backbone": "words"}),
        "sentence": (TAGGED, {"backbone": "words"}),
        "audio": (clips, {"schedule": "frozen"}),
        "audio rnn": (clips, {"backbone": "rnn"}),
        "utterance": (said, {"backbone": "cnn", "task": "transcribe", "schedule": "full"}),
    }
    return {
        name: crossgraft.fit(target=target, out=folder / name, **{**SHORT, **options})
        for name, (target, options) in given.items()
    }


@pytest.mark.parametrize("kind", ["text", "words", "sentence", "audio", "utterance"])
@pytest.mark.parametrize("format", ["onnx", "torch", "openvino"])
def test_exports_say_what_the_run_says_at_any_batch_and_length(
    runs: dict[str, Run], kind: str, format: str, tmp_path: Path
) -> None:
    if missing := [library for library in NEEDS[format] if find_spec(library) is None]:
        pytest.skip(f"{missing} not installed")
    found = export(runs[kind], format, tmp_path / f"m{SUFFIX[format]}")
    assert found["max_difference"] < 1e-4
    assert not list(tmp_path.glob("part-*"))
    assert len(found["inputs"]) == len(Parts.of(runs[kind]).entrance.names)


def test_a_text_goes_in_by_the_tokenizer_beside_the_model(runs: dict[str, Run], tmp_path: Path) -> None:
    onnxruntime, transformers = pytest.importorskip("onnxruntime"), pytest.importorskip("transformers")
    export(runs["text"], "onnx", tmp_path / "m.onnx")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m.tokenizer")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    given = tokenizer([*TEXTS, "a longer one than any that it was trained on"], padding=True, return_tensors="np")
    p = session.run(["probabilities"], {n: given[n].astype(np.int64) for n in names})[0]
    rows = runs["text"].predict([*TEXTS, "a longer one than any that it was trained on"])
    np.testing.assert_allclose(p, [list(row["probabilities"].values()) for row in rows], atol=1e-4)


def test_a_word_has_its_tag_at_its_first_token(runs: dict[str, Run], tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    run = runs["sentence"]
    found = export(run, "torch", tmp_path / "m.pt2")
    assert "first" in found["of_a_word"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "m.tokenizer")
    given = tokenizer([list(w) for w in WORDS], is_split_into_words=True, padding=True, return_tensors="pt")
    model = torch.export.load(tmp_path / "m.pt2").module()
    p = model(given["input_ids"], given["attention_mask"]).detach().numpy()
    at = [p[i, given.word_ids(i).index(w)] for i, words in enumerate(WORDS) for w in range(len(words))]
    log_p, _ = run.model.log_probabilities(open_domain((list(WORDS), list(TAGS)), "letters"))
    np.testing.assert_allclose(at, np.exp(log_p), atol=1e-4)


def test_a_transcript_comes_out_by_frames(runs: dict[str, Run], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    run = runs["utterance"]
    found = export(run, "torch", tmp_path / "m.pt2")
    assert found["output"]["probabilities"][0] == found["frames"]["blank"]
    model = torch.export.load(tmp_path / "m.pt2").module()
    x = np.random.default_rng(0).normal(0, 0.1, (3, 20000)).astype(np.float32)
    lengths = np.array([20000, 9000, 12345])
    out = model(torch.from_numpy(x), torch.from_numpy(lengths))
    for i, n in enumerate(lengths):
        alone = model(torch.from_numpy(x[i : i + 1, :n]), torch.from_numpy(lengths[i : i + 1]))
        own = int(out["frames"][i])
        assert own == int(alone["frames"][0]) == run.model.backbone.frames(n)  # type: ignore[misc]
        torch.testing.assert_close(out["probabilities"][i, :own], alone["probabilities"][0, :own], atol=1e-4, rtol=0)


def test_what_cannot_be_exported_says_why(runs: dict[str, Run], tmp_path: Path) -> None:
    for format in ("keras", "savedmodel"):
        with pytest.raises(CrossgraftError, match="layers of texts"):
            export(runs["text"], format, tmp_path / f"m{SUFFIX[format]}")
    with pytest.raises(CrossgraftError, match="one length alone"):
        export(runs["audio rnn"], "onnx")
    chained = crossgraft.fit(
        target=(list(WORDS) * 10, list(TAGS) * 10), backbone="words", crf=True, steps=2, baselines=False, guard=False,
        out=tmp_path / "crf",
    )  # fmt: skip
    with pytest.raises(CrossgraftError, match="CRF depend on each other"):
        export(chained, "torch")
    assert not list((tmp_path / "crf").glob("model.pt2*"))
    assert "longest" in json.dumps(Parts.of(runs["text"]).described())
