"""Texts through tokenizer, layers, store and solvers: against transformers itself where it can be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft import backbones, features
from crossgraft.backbones.backbone import Backbone
from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.features.ragged import Ragged, joined, tensor

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("float32")

WORDS = ["good", "great", "love", "fine", "bad", "awful", "hate", "poor", "a", "the", "it", "is", "was", "very"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with weights of its own and a vocabulary of words: 16 tokens at once."""
    at = tmp_path_factory.mktemp("tiny")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (at / "vocab.txt").write_text("\n".join(vocabulary))
    from tokenizers import BertWordPieceTokenizer

    BertWordPieceTokenizer(str(at / "vocab.txt")).save(str(at / "tokenizer.json"))
    (at / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 16}))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(at)
    return at


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Backbone:
    return backbones.load(str(folder), open_domain(["a"], "it"))


def by_hand(folder: Path, ids: list[int], types: list[int] | None = None) -> np.ndarray:
    """Token states of one chunk by transformers."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        more = {} if types is None else {"token_type_ids": torch.tensor([types])}
        return np.asarray(model(input_ids=torch.tensor([ids]), **more).last_hidden_state[0].numpy())


def computed(tiny: Backbone, texts: Any) -> features.Prepared:
    return features.features(open_domain((texts, None), "it"), tiny)


def test_mean_over_tokens_is_that_of_transformers_whatever_stands_beside(tiny: Backbone, folder: Path) -> None:
    texts = ["good", "it is very good the the the a", "bad it"]
    found = computed(tiny, texts).values
    for text, row in zip(texts, found, strict=True):
        expected = by_hand(folder, [2, *(5 + WORDS.index(w) for w in text.split()), 3]).mean(0)
        assert np.allclose(row, expected, atol=1e-5)


def test_a_long_text_is_read_whole_in_chunks_and_said_so(tiny: Backbone, folder: Path) -> None:
    assert tiny.tokens is not None
    words = [WORDS[i % len(WORDS)] for i in range(100)]
    row = tiny.tokens.encode([" ".join(words)])[0]
    content = row[row >= 5]
    assert content.tolist() == [5 + WORDS.index(w) for w in words]  # in order, nothing lost, nothing twice
    chunks = [c[c >= 0] for c in np.split(row, range(16, len(row), 16))]
    assert all(c[0] == 2 and c[-1] == 3 and len(c) <= 16 for c in chunks)
    states = np.concatenate([by_hand(folder, c.tolist()) for c in chunks])
    found = computed(tiny, [" ".join(words), "good"])
    assert np.allclose(found.values[0], states.mean(0), atol=1e-5)
    assert found.notes == (
        f"it: 1 of 2 texts (50.0 %) have more than 16 tokens; all of each was read, in chunks, {len(chunks)} at most",
    )
    assert computed(tiny, [" ".join(words), "good"]).notes == found.notes  # also from the store


def test_a_pair_is_read_with_its_token_types(tiny: Backbone, folder: Path) -> None:
    row = computed(tiny, [("good", "bad it")]).values[0]
    expected = by_hand(folder, [2, 5, 3, 9, 5 + WORDS.index("it"), 3], [0, 0, 0, 1, 1, 1]).mean(0)
    assert np.allclose(row, expected, atol=1e-5)
    assert tiny.tokens is not None
    long = tiny.tokens.encode([("good " * 40, "bad it " * 10)])[0]
    kept = long[long >= 0] & 0xFFFFFF
    assert ((kept == 5).sum(), (kept == 9).sum()) == (40, 10)


@pytest.mark.parametrize(("mode", "pick"), [("cls_token", 0), ("lasttoken", -1), ("max_tokens", None)])
def test_pooling_by_the_models_own_files(folder: Path, tmp_path: Path, mode: str, pick: int | None) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for file in folder.iterdir():
        os.symlink(file, own / file.name)
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    (own / "modules.json").write_text(json.dumps([*modules, {"path": "2_Normalize", "type": "x.Normalize"}]))
    (own / "1_Pooling").mkdir()
    (own / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    loaded = backbones.load(str(own), open_domain(["a"], "it"))
    states = by_hand(folder, [2, 5, 9, 3])
    expected = states.max(0) if pick is None else states[pick]
    row = features.features(open_domain(["good bad", "the"], "it"), loaded).values[0]
    assert np.allclose(row, expected / np.linalg.norm(expected), atol=1e-5)


def test_groups_from_input_to_output_hold_every_parameter_once(tiny: Backbone) -> None:
    assert [name for name, _ in tiny.groups] == ["embeddings", "layer.0", "layer.1"]
    auto = backbones.load("auto", open_domain(["a"], "it"))
    for backbone in (tiny, auto):
        prefixes = [p for _, group in backbone.groups for p in group]
        for name, _ in backbone.module.named_parameters():
            assert sum(name.startswith(f"{p}.") for p in prefixes) == 1, name


def test_empty_texts_cost_only_themselves(tiny: Backbone) -> None:
    found = computed(tiny, ["good", "", None, "bad"])
    assert found.failures == [(1, "the text is empty"), (2, "the text is empty")]
    assert (found.values[[0, 3]] != 0).any(1).all()


def test_any_script_and_any_mark_up_has_features(tiny: Backbone) -> None:
    odd = ["مرحبا بالعالم", "这个产品非常好", "<script>alert('x')</script>", "\x00\x01", "🙂", "a" * 5000]
    assert np.isfinite(computed(tiny, odd).values).all()


def test_ragged_rows_are_indexed_like_an_array_and_joined_to_one_width() -> None:
    rows = Ragged.of([np.array([1]), np.array([2, 3, 4]), np.empty(0, int), np.array([5, 6])])
    assert rows[1:].padded().tolist() == [[2, 3, 4], [-1, -1, -1], [5, 6, -1]]
    assert rows[np.array([True, False, True, True])].padded().tolist() == [[1, -1], [-1, -1], [5, 6]]
    both = joined([tensor(rows[np.array([0])]), tensor(rows[np.array([1])])])
    assert both.tolist() == [[1, -1, -1], [2, 3, 4]]
    assert np.allclose(np.linalg.norm(rows.counts(8), axis=1), [1, 1, 0, 1])


def test_gradients_reach_every_layer_and_hidden_words_change_nothing_else(tiny: Backbone) -> None:
    assert tiny.tokens is not None
    module = tiny.fresh(0)
    rows = Ragged.of(tiny.tokens.encode(["good it", "bad the very a a a a", "good " * 60]))
    whole = module(tensor(rows))
    whole.square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    alone = [module(tensor(rows[np.array([i])]))[0] for i in range(3)]
    assert torch.allclose(whole, torch.stack(alone), atol=1e-5)
    padded = torch.nn.functional.pad(tensor(rows), (0, 7), value=-1)
    assert torch.allclose(module(padded), whole, atol=1e-5)


def test_a_name_that_is_no_model_says_what_to_give(folder: Path, tmp_path: Path) -> None:
    domain = open_domain(["a"], "it")
    with pytest.raises(UsageError, match="does not read texts"):
        backbones.load("cnn", domain)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CrossgraftError, match=r"config\.json is missing"):
        backbones.load(str(tmp_path / "empty"), domain)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(CrossgraftError, match="no weights in safetensors"):
        backbones.load(str(tmp_path / "bare"), domain)


def reviews(n: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts whose class is in one of their words."""
    draw = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(n):
        words = list(draw.choice(WORDS[8:], 5))
        words.insert(int(draw.integers(6)), str(draw.choice(WORDS[:4] if i % 2 else WORDS[4:8])))
        texts.append(" ".join(words) + f" {i}")
        labels.append("pos" if i % 2 else "neg")
    return texts, labels


def test_fit_predict_score_and_report_on_texts(folder: Path, tmp_path: Path) -> None:
    texts, labels = reviews(80, 0)
    lines = [{"text": t, "label": y} for t, y in zip(texts, labels, strict=True)]
    lines[3]["text"] = "bad <script>alert(1)</script> it"
    (tmp_path / "few.jsonl").write_text("\n".join(map(json.dumps, [*lines, {"text": "", "label": "pos"}])))
    run = crossgraft.fit(
        tmp_path / "few.jsonl", reviews(120, 1), backbone=str(folder), shots=8, out=tmp_path / "run", schedule="frozen"
    )
    result = run.result
    assert all(result["baselines"][name]["n"] for name in ("target_only", "source_only"))
    assert result["skipped"] == [{"domain": "target", "name": "line 81", "reason": "the text is empty"}]
    rows = run.predict(["good it is", str(tmp_path / "few.jsonl"), ""])
    assert len(rows) == 83
    assert set(rows[0]["probabilities"]) == {"pos", "neg"}
    assert rows[-1]["error"] == rows[-2]["error"] == "the text is empty"
    again = crossgraft.Run.open(tmp_path / "run").score(tmp_path / "few.jsonl")
    assert again["n"] == 80
    mistake = {"name": "x", "label": "pos", "predicted": "neg", "probability": 0.9, "text": "<script>alert(1)</script>"}
    words = [{"words": "<b>bad</b>", "nats": 0.51}]
    (tmp_path / "run" / "texts.json").write_text(json.dumps([mistake | {"words": words}]))
    page = crossgraft.Run.open(tmp_path / "run").report().read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;bad&lt;/b&gt;" in page
    assert "<script>alert" not in page


def test_the_word_that_decides_is_named(tiny: Backbone) -> None:
    from crossgraft.objective.algebra import ce
    from crossgraft.solve.fitted import Fitted
    from crossgraft.wording import deciding

    def bag(texts: list[str]) -> np.ndarray:
        return features.features(open_domain(texts, "it"), tiny).values

    x, labels = bag(reviews(60, 0)[0]), np.arange(60) % 2
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=1e3, max_iter=2000).fit(x, labels)
    weight = np.stack([-head.coef_[0], head.coef_[0]], 1)
    fitted = Fitted(tiny, weight, np.array([-1, 1]) * head.intercept_[0], ce("target"), "frozen")
    text = max(reviews(60, 0)[0], key=lambda t: fitted.of_features(bag([t]), np.arange(2))[0, 1])
    words = text.split()
    without = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    log_p = fitted.of_features(bag([text, *without]), np.arange(2))[:, 1]
    found = deciding(fitted, [text], np.array([1]), np.arange(2))[0]
    assert found[0]["words"] == words[int(log_p[1:].argmin())]
    assert found[0]["nats"] == pytest.approx(log_p[0] - log_p[1:].min(), abs=1e-4)


@pytest.mark.parametrize("schedule", ["lp_ft", "gradual", "full", "lora"])
def test_layers_learn_and_are_found_again(folder: Path, tmp_path: Path, schedule: str) -> None:
    run = crossgraft.fit(
        reviews(120, 0), reviews(120, 1), backbone=str(folder), shots=8, schedule=schedule, steps=60, lr=3e-3,
        guard=False, baselines=False, out=tmp_path / "run",
    )  # fmt: skip
    least = 0.7 if schedule == "lora" else 0.9  # the matrices beside which adapters stand were drawn, not trained
    assert run.result["test"]["accuracy"]["value"] > least
    texts, labels = reviews(40, 2)
    predicted = [row["label"] for row in crossgraft.Run.open(tmp_path / "run").predict(texts)]
    assert np.mean([a == b for a, b in zip(predicted, labels, strict=True)]) > least


def test_target_only_follows_the_schedule_that_was_asked_for(folder: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"backbone": str(folder), "shots": 4, "method": "target_only", "steps": 3}
    run = crossgraft.fit(reviews(60, 0), reviews(60, 1), schedule="lp_ft", out=tmp_path / "run", **asked)
    assert run.result["schedule"] == "lp_ft"
    rows = [json.loads(line) for line in (tmp_path / "run" / "measures.jsonl").read_text().splitlines()]
    assert any(row["model"] == "target_only" for row in rows)


@pytest.mark.slow
def test_without_a_source_the_rival_is_a_bag_of_words(folder: Path, tmp_path: Path) -> None:
    run = crossgraft.fit(reviews(120, 0), backbone=str(folder), schedule="frozen", steps=30, out=tmp_path / "run")
    assert run.result["baselines"]["target_only"]["accuracy"]["value"] > 0.5


def test_adapters_begin_at_zero_learn_alone_and_are_merged(tiny: Backbone) -> None:
    pytest.importorskip("peft")
    import adapter_kit

    from crossgraft.backbones import adapters

    assert tiny.tokens is not None
    rows = tensor(Ragged.of(tiny.tokens.encode(["good it is", "bad"])))
    module = tiny.fresh(0).eval()
    learning = adapter_kit.stand_beside(module, rows)
    assert learning
    assert all(adapters.learned(n, True) for n in learning)


@pytest.mark.parametrize("method", ["dann", "fixmatch"])
def test_methods_run_on_texts_unchanged(folder: Path, tmp_path: Path, method: str) -> None:
    run = crossgraft.fit(
        reviews(80, 0), reviews(80, 1), backbone=str(folder), method=method, shots=0, steps=5, out=tmp_path / "run"
    )
    assert run.result["transfer"]["n"] == 80


def test_mixup_says_that_texts_cannot_be_mixed(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="texts cannot be mixed"):
        crossgraft.fit(
            reviews(40, 0), reviews(40, 1), backbone=str(folder), shots=4, schedule="full", mixup=0.2,
            baselines=False, guard=False, out=tmp_path / "run",
        )  # fmt: skip


def test_every_command_takes_texts(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from crossgraft.cli import main

    for name, seed in (("a", 0), ("b", 1)):
        texts, labels = reviews(60, seed)
        labels = [y if i < 50 else "" for i, y in enumerate(labels)]
        rows = "".join(f"{t},{y}\n" for t, y in zip(texts, labels, strict=True))
        (tmp_path / f"{name}.csv").write_text("said,label\n" + rows)
    target, source = str(tmp_path / "a.csv"), str(tmp_path / "b.csv")
    options = ["--text", "said", "--backbone", str(folder), "--json"]
    commands = [
        ["gap", "--target", target, "--source", source],
        ["rank", "--target", target, "--sources", source],
        ["doubt", "--target", target, "--source", source],
        ["next", "--target", target, "--source", source, "--n", "3"],
    ]
    for command in commands:
        with pytest.raises(SystemExit) as status:
            main([*command, *options])
        said = capsys.readouterr()
        assert status.value.code == 0, said.err
        assert "error" not in json.loads(said.out)


@pytest.mark.slow
def test_packaged_minilm_ends_as_that_of_sentence_transformers() -> None:
    st = pytest.importorskip("sentence_transformers")
    texts = ["I love this book.", "It broke after a week, and nobody answered my letters.", "ok"]
    domain = open_domain(texts, "it")
    from crossgraft.backbones.text_models import DEPTHS, _folder

    theirs = st.SentenceTransformer(str(_folder("auto")), device="cpu")
    named = features.features(domain, backbones.load(str(_folder("auto")), domain), engine="torch").values
    auto = features.features(domain, backbones.load("auto", domain), engine="torch").values
    found = np.split(auto, len(DEPTHS), axis=1)
    for last in (named, found[-1]):
        assert (np.sum(last * theirs.encode(texts), 1) > 0.99999).all()
    asked = theirs.tokenize(texts)
    hidden = theirs[0].auto_model(**asked, output_hidden_states=True).hidden_states[DEPTHS[0]].detach().numpy()
    mask = asked["attention_mask"].numpy()[:, :, None]
    middle = (hidden * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(found[0], middle / np.linalg.norm(middle, axis=1, keepdims=True), atol=1e-4)


def test_layers_that_a_run_read_otherwise_are_refused(tmp_path: Path) -> None:
    texts = (["good", "fine", "bad", "poor"] * 5, ["1", "1", "0", "0"] * 5)
    run = crossgraft.fit(target=texts, schedule="frozen", out=tmp_path / "run")
    kept = run.folder / "model.json"
    for change in ({"dim": 384}, {"dim": 384, "stored": True}):
        said = json.loads(kept.read_text())
        said["backbone"] |= change
        kept.write_text(json.dumps(said))
        with pytest.raises(CrossgraftError, match="is not the one that the run"):
            crossgraft.Run.open(run.folder).predict(["good"])
