"""Named entities on the road of classes: word features, folds of sentences, scores of spans, runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft import backbones, features
from crossgraft.domains import open_domain
from crossgraft.domains.domain import Domain
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.features.ragged import Ragged, tensor
from crossgraft.measure import entity_scores, span_counts
from crossgraft.measure.entities import difference, span_probabilities
from crossgraft.objective.algebra import Objective
from crossgraft.objective.tables import class_balanced
from crossgraft.side import Side
from crossgraft.solve import seeing
from crossgraft.solve.batches import Stream
from crossgraft.solve.by_folds import by_folds
from crossgraft.solve.convex import Part
from crossgraft.solve.net import Net
from crossgraft.solve.schedules import Phase
from crossgraft.tasks import Tag, log_softmax

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
PEOPLE, PLACES, THINGS = ["ada", "bob", "cleo", "dan"], ["rome", "oslo", "york", "lima"], ["lamp", "boat", "drum"]
pytestmark = pytest.mark.usefixtures("float32")

PLAIN = ["the", "in", "saw", "left", "a", "new", "was", "near"]
LONG = 16  # tokens that the tiny model takes at once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with weights of its own, and a vocabulary of words and one piece."""
    at = tmp_path_factory.mktemp("tiny")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PEOPLE, *PLACES, *THINGS, *PLAIN, "##ness"]
    (at / "vocab.txt").write_text("\n".join(vocabulary))
    from tokenizers import BertWordPieceTokenizer

    BertWordPieceTokenizer(str(at / "vocab.txt")).save(str(at / "tokenizer.json"))
    (at / "tokenizer_config.json").write_text(json.dumps({"model_max_length": LONG}))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=LONG,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(at)
    return at


def made(n: int, types: dict[str, list[str]], seed: int, name: str) -> Domain:
    """Sentences of plain words with entities of one word, seldom two; the last third is test data."""
    draw = np.random.default_rng(seed)
    sentences, tags = [], []
    for _ in range(n):
        words, own = [], []
        for _ in range(int(draw.integers(1, 4))):
            plain = draw.choice(PLAIN, int(draw.integers(0, 3)))
            kind = str(draw.choice(list(types)))
            entity = draw.choice(types[kind], 2 if draw.random() < 0.2 else 1)
            words += [*plain, *entity, "saw"]
            own += ["O"] * len(plain) + [f"B-{kind}", f"I-{kind}"][: len(entity)] + ["O"]
        sentences.append([str(w) for w in words])
        tags.append(own)
    split = ["train"] * (n - n // 3) + ["test"] * (n // 3)
    return open_domain((sentences, tags, split), name)


@pytest.fixture(scope="module")
def target() -> Domain:
    return made(45, {"person": PEOPLE, "thing": THINGS}, 0, "target")


@pytest.fixture(scope="module")
def source() -> Domain:
    return made(40, {"person": PEOPLE, "place": PLACES}, 1, "source")


def states(folder: Path, ids: list[int]) -> np.ndarray:
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        return np.asarray(model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy())


def test_a_word_has_the_state_of_its_first_piece(folder: Path) -> None:
    domain = open_domain(([["newness", "ada", "\u200b", "qqq"], ["rome"]], [["O"] * 4, ["O"]]), "d")
    tiny = backbones.load(str(folder), domain)
    vocabulary = (folder / "vocab.txt").read_text().split("\n")
    n = {w: i for i, w in enumerate(vocabulary)}
    expected = states(folder, [2, n["new"], n["##ness"], n["ada"], 1, 1, 3])[[1, 3, 4, 5]]
    found = features.features(domain, tiny)
    assert np.allclose(found.values[:4], expected, atol=1e-5)
    assert np.allclose(found.values[4], states(folder, [2, n["rome"], 3])[1], atol=1e-5)
    again = features.features(domain.take([1, 0]), tiny).values  # from the store, in another order
    assert np.array_equal(again[1:], found.values[:4])


def test_a_long_sentence_is_read_in_windows_and_each_word_once(folder: Path) -> None:
    words = [(PEOPLE + PLACES + PLAIN)[i % 16] for i in range(50)]
    domain = open_domain(([words, ["ada"]], [["O"] * 50, ["O"]]), "d")
    tiny = backbones.load(str(folder), domain)
    assert tiny.tokens is not None
    row = tiny.tokens.encode([tuple(words)])[0]
    windows = [w[w >= 0] for w in np.split(row, range(LONG, len(row), LONG))]
    assert all(len(w) <= LONG for w in windows)
    ids = [w & ((1 << 24) - 1) for w in windows]
    expected = np.concatenate([states(folder, i.tolist())[w >> 28 == 1] for i, w in zip(ids, windows, strict=True)])
    marked = np.concatenate([i[w >> 28 == 1] for i, w in zip(ids, windows, strict=True)])
    vocabulary = (folder / "vocab.txt").read_text().split("\n")
    assert [vocabulary[i] for i in marked] == words
    found = features.features(domain, tiny)
    assert np.allclose(found.values[:50], expected, atol=1e-5)
    assert any("1 of 2 texts" in note for note in found.notes)
    raw = features.pixels(domain, tiny).values
    assert np.allclose(features.embed(tiny, raw[np.array([1, 0])])[1:], expected, atol=1e-5)


def test_words_without_a_pretrained_layer_see_their_neighbours(target: Domain) -> None:
    layers = backbones.load("words", target)
    two = open_domain(([["ada", "saw", "rome"], ["bob", "saw", "rome"]], [["O"] * 3] * 2), "d")
    found = features.embed(layers, features.pixels(two, layers).values)
    assert found.shape == (6, layers.dim)
    assert not np.allclose(found[1], found[4])


def test_folds_never_split_a_sentence_and_losses_keep_their_mean(target: Domain) -> None:
    side = Side.of(target, Tag(target.classes), target.classes)
    rows = side.rows("train")
    parts = side.folds(rows, 0, "folds")
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    owners = [set(side.owner[rows[part]].tolist()) for part in parts]
    assert sum(map(len, owners)) == len(set.union(*owners)) == len(side.examples(rows)) == 30
    losses = np.random.default_rng(0).random(len(rows))
    sums = side.by_example(losses, rows)
    assert len(sums) == 30
    assert np.isclose(sums.mean(), losses.mean())


def test_a_batch_of_sentences_has_the_cross_entropy_of_its_words(folder: Path, target: Domain) -> None:
    from crossgraft.objective.algebra import ce
    from crossgraft.objective.methods import evaluate_terms
    from crossgraft.objective.views import View
    from crossgraft.solve.batches import Stream
    from crossgraft.solve.net import Net

    side = Side.of(target, Tag(target.classes), target.classes)
    tiny = backbones.load(str(folder), target)
    rows = side.rows("train")
    values, labels = side.batches(tiny, rows)
    assert isinstance(labels, Ragged)
    batch = Stream(values, labels, 7).batch(0, "target", 0, len(target.classes))
    net = Net(tiny, {"target": side.columns}, len(target.classes), 0).eval()
    view = View(*net({"target": batch.values})["target"], batch.labels)
    assert len(view.logits) == len(view.labels) > batch.values.shape[0] == 7
    drawn = Stream(values, labels, 7).rows(0, "target", 0)
    every = net.log_probabilities(values, "target", batch_size=4)
    at = np.concatenate([np.flatnonzero(side.owner[rows] == i) for i in drawn])
    expected = -every[at, side.labels[rows][at]].mean()
    found = evaluate_terms(ce("target"), {"target": view}, {"target": {}})["ce(target)"]
    assert np.isclose(found.item(), expected, atol=1e-5)


def test_lambda_falls_where_the_source_contradicts_and_the_ridge_rises_where_nothing_tells() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(0, 1, (400, 3))
    y = (x[:, 0] > 0).astype(np.int64)
    columns, folds = np.arange(2), [np.arange(i, 400, 3) for i in range(3)]
    same, opposite = Part(x[200:], y[200:], columns), Part(x[200:], 1 - y[200:], columns)
    part = Part(x[:30], y[:30], columns)
    few = [f[f < 30] for f in folds]
    good, _ = by_folds(part, same, 2, 0, few, lambda losses: losses)
    bad, _ = by_folds(part, opposite, 2, 0, few, lambda losses: losses)
    assert good >= 1
    assert bad < 0.3
    _, strong = by_folds(Part(x[:30], draw.permutation(y[:30]), columns), None, 2, 0, few, lambda losses: losses)
    _, weak = by_folds(Part(x, y, columns), None, 2, 0, folds, lambda losses: losses)
    assert weak < strong


@pytest.mark.parametrize(
    ("truth", "predicted", "counts"),
    [  # found, predicted, true: by conlleval.pl and by seqeval 1.2.2 in its default mode
        ("B-x I-x O", "B-x I-x O", (1, 1, 1)),
        ("B-x I-x O", "B-x O O", (0, 1, 1)),
        ("B-x I-x O", "B-y I-y O", (0, 1, 1)),
        ("B-x B-x", "B-x I-x", (0, 1, 2)),
        ("B-x I-x B-y", "B-x I-x I-x", (0, 1, 2)),
        ("O O B-x", "O I-x I-x", (0, 1, 1)),
        ("B-x O B-x", "I-x O B-x", (2, 2, 2)),
        ("O O", "O O", (0, 0, 0)),
    ],
)
def test_spans_count_as_conlleval_counts_them(truth: str, predicted: str, counts: tuple[int, int, int]) -> None:
    found = span_counts(truth.split(), predicted.split(), np.array([len(truth.split())]), ["x", "y"])
    assert tuple(found.sum((0, 1)).tolist()) == counts


def test_scores_of_entities_by_hand() -> None:
    task = Tag.of(["x", "y"])
    truth = ["B-x", "I-x", "O", "B-y", "O", "B-x"]
    guess = ["B-x", "I-x", "O", "B-x", "B-y", "B-x"]
    log_p = log_softmax(10 * np.eye(5)[task.encode(guess)])
    found = entity_scores(task, log_p, task.encode(truth), np.array([3, 3]))
    assert (found["precision"]["value"], found["recall"]["value"]) == (2 / 4, 2 / 3)
    assert np.isclose(found["f1"]["value"], 4 / 7)
    assert found["f1"]["low"] <= found["f1"]["value"] <= found["f1"]["high"]
    assert (found["n"], found["words"], found["by_type"]["y"]["n"]) == (2, 6, 1)
    assert found["by_type"]["x"]["recall"]["value"] == 1
    assert np.isclose(found["cross_entropy"]["value"], task.cross_entropy(log_p, task.encode(truth)).mean())


def test_the_interval_of_f1_is_that_of_sentences_not_of_words() -> None:
    counts = np.array([[[5, 5, 5]], [[0, 5, 5]]] * 30)[:, 0]
    wide = difference(counts, np.zeros_like(counts))
    assert 0.2 < wide["high"] - wide["low"] < 0.3  # sqrt(0.25 / 60) * 3.92
    same = difference(counts, counts)
    assert same["value"] == 0
    assert same["p_value"] == 1


def test_a_span_is_as_likely_as_its_tags_and_its_end() -> None:
    task = Tag.of(["x"])
    p = np.array([[0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.5, 0.1, 0.4]])
    assert np.allclose(span_probabilities(task, np.log(p), [(0, 2, "x"), (2, 3, "x")]), [0.8 * 0.7 * 0.6, 0.1])


def fitted(out: Path, folder: Path, target: Any, source: Any, **options: Any) -> crossgraft.Run:
    return crossgraft.fit(target, source, out=out, backbone=str(folder), **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, folder: Path, target: Domain, source: Domain) -> crossgraft.Run:
    return fitted(tmp_path_factory.mktemp("runs") / "run", folder, target, [source], schedule="frozen")


def test_a_run_learns_tags_and_shares_the_columns_of_both(run: crossgraft.Run) -> None:
    result = run.result
    assert result["task"] == {"kind": "tag", "classes": ["O", "B-person", "I-person", "B-thing", "I-thing"]}
    assert result["test"]["f1"]["value"] > 0.7
    assert result["n"] == {
        "target_labelled": 30, "target_unlabelled": 0, "target_val": 0, "source": 40, "test": 15,
    }  # fmt: skip
    assert result["selection"] == "cv"
    assert {row["model"] for row in result["guard"]} == {"transfer", "target_only"}
    assert all(row["n"] == 30 for row in result["guard"])
    assert "f1" in result["paired"][0]
    assert result["labels_saved"] is None
    assert "independent" in result["calibration"]["why"]


def test_entities_of_one_word_are_no_reason_to_label_more(folder: Path, tmp_path: Path) -> None:
    words = [["ada", "saw"], ["saw", "ada"]] * 3 + [["ada", "ada"]]
    tags = [["B-person", "O"], ["O", "B-person"]] * 3 + [["B-person", "I-person"]]
    few = open_domain((words, tags, ["train"] * 6 + ["test"]), "few")
    result = fitted(tmp_path / "run", folder, few, [], schedule="frozen", baselines=False).result
    assert not [w for w in result["warnings"] if "I-person" in w]


def test_the_saved_model_scores_and_predicts_as_it_did(run: crossgraft.Run, target: Domain) -> None:
    opened = crossgraft.Run.open(run.folder)
    test = target.take(target.where("test"))
    again = opened.score(test)
    assert again["f1"] == run.result["test"]["f1"]
    assert np.isclose(again["cross_entropy"]["value"], run.result["test"]["cross_entropy"]["value"], atol=1e-5)
    lines = [json.loads(row) for row in (run.folder / "predictions.jsonl").read_text().splitlines()]
    rows = opened.predict(test)
    assert [t for row in rows for t in row["tags"]] == [line["predicted"] for line in lines]
    assert [w for row in rows for w in row["words"]] == [line["word"] for line in lines]


def test_raw_text_is_split_and_spans_say_where_they_are(run: crossgraft.Run) -> None:
    text = "the ada  bob, saw <b>lamp</b>"
    rows = run.predict([text, "", "the"])
    assert rows[1]["error"] == "the text is empty"
    assert rows[0]["words"][:4] == ["the", "ada", "bob", ","]
    assert all(0 < s["probability"] <= 1 for s in rows[0]["spans"])
    for s in rows[0]["spans"]:
        a, b = s["characters"]
        assert text[a:b].split() == s["text"].split() or "<" in s["text"]
    assert any(s["type"] == "person" for s in rows[0]["spans"])


def test_layers_move_over_batches_of_sentences(tmp_path: Path, folder: Path, target: Domain, source: Domain) -> None:
    options = {"schedule": "full", "steps": 30, "lr": 3e-3, "lam": 1.0, "ridge": 1e-3, "guard": False}
    run = fitted(tmp_path / "a", folder, target, [source], **options)
    assert run.result["test"]["f1"]["value"] > 0.4
    assert run.result["baselines"]["target_only"]["n"] == 15
    assert (
        crossgraft.Run.open(tmp_path / "a").score(target.take(target.where("test")))["f1"] == run.result["test"]["f1"]
    )


def test_source_steps_let_pretrained_layers_learn_the_source_first(
    tmp_path: Path, folder: Path, target: Domain, source: Domain
) -> None:
    options = {"method": "finetune", "schedule": "frozen", "guard": False, "baselines": False}
    before = fitted(tmp_path / "a", folder, target, [source], **options)
    after = fitted(tmp_path / "b", folder, target, [source], source_steps=20, **options)
    logged = [json.loads(row) for row in (tmp_path / "b" / "measures.jsonl").read_text().splitlines()]
    assert {row["model"] for row in logged} == {"source"}
    assert max(row["step"] for row in logged) == 20
    assert after.result["test"]["cross_entropy"] != before.result["test"]["cross_entropy"]
    assert not (tmp_path / "a" / "measures.jsonl").exists()


@pytest.mark.parametrize("options", [{"schedule": "frozen"}, {"schedule": "lp_ft", "steps": 4}])
def test_sentences_as_sequences(
    tmp_path: Path, folder: Path, target: Domain, source: Domain, options: dict[str, Any]
) -> None:
    held = {"lam": 0.3, "ridge": 1e-4, "baselines": False} | options
    run = fitted(tmp_path / "run", folder, target, [source], crf=True, **held)
    opened, test = crossgraft.Run.open(run.folder), target.take(target.where("test"))
    transitions, place = opened.model.transitions, opened.model.task.classes.index
    assert transitions is not None
    assert transitions[place("O"), place("I-person")] == -np.inf
    assert run.result["test"]["f1"]["value"] > 0.5
    again = opened.score(test)
    assert again["f1"] == run.result["test"]["f1"]
    assert np.isclose(again["cross_entropy"]["value"], run.result["test"]["cross_entropy"]["value"], atol=1e-5)
    lines = [json.loads(row) for row in (run.folder / "predictions.jsonl").read_text().splitlines()]
    assert [t for row in opened.predict(test) for t in row["tags"]] == [line["predicted"] for line in lines]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "im"}, "method im does not learn tags.*dann"),
        ({"method": "cdan"}, "same classes in source and target"),
        ({"method": "dann", "crf": True}, "methods that adapt see words"),
        ({"method": "dann", "selection": "label_free:im"}, "does not hold for tags yet"),
        ({"crf": True, "label_smoothing": 0.1}, "a CRF learns whole sentences"),
        ({"objective": "ce(target) + 0.1*mcc"}, "mcc does not hold for tags.*entropy"),
        ({"selection": "loo"}, "does not hold for tags yet"),
        ({"task": "classify"}, "holds tagged sentences"),
    ],
)
def test_what_does_not_hold_for_tags_is_refused(
    tmp_path: Path, folder: Path, target: Domain, source: Domain, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(CrossgraftError, match=said):
        fitted(tmp_path / "run", folder, target, [source], **options)


@pytest.mark.parametrize("method", ["dann", "cdan", "coral", "mmd", "entropy", "self_training", "l2_sp"])
def test_methods_see_words_as_rows(method: str, tmp_path: Path, folder: Path, target: Domain) -> None:
    """Of untagged sentences too, which have other lengths than the batch's longest."""
    near = made(40, {"person": PLACES, "thing": THINGS}, 1, "near")
    asked: dict[str, Any] = {"shots": 8, "steps": 4, "guard": False, "baselines": False, "lr": 1e-3}
    result = fitted(tmp_path / "run", folder, target, [near], method=method, **asked).result
    assert (result["n"]["target_labelled"], result["n"]["test"]) == (8, 37)  # of which 22 are learned from, untagged
    values = [row["value"] for row in result["objective"]["terms"]]
    assert len(values) == (2 if method == "l2_sp" else 3)
    assert np.isfinite(values).all()
    assert result["schedule"] == "adapt"
    lines = [json.loads(row) for row in (tmp_path / "run/predictions.jsonl").read_text().splitlines()]
    tested = [target.names.tolist().index(name) for name in dict.fromkeys(line["name"] for line in lines)]
    again = crossgraft.Run.open(tmp_path / "run").predict(target.take(tested))
    assert [t for row in again for t in row["tags"]] == [line["predicted"] for line in lines]


def test_a_method_without_a_tagged_sentence_has_nothing_to_be_judged_by(
    tmp_path: Path, folder: Path, target: Domain, source: Domain
) -> None:
    untagged = replace(target, labels=np.full(len(target), None, dtype=object))
    with pytest.raises(UsageError, match="judged by labels of the target where they are tags"):
        fitted(tmp_path / "run", folder, untagged, [source], method="dann")


def test_a_table_holds_a_label_for_each_word_of_each_sentence(folder: Path, target: Domain) -> None:
    """What a batch takes from it is what its words were called, in whatever order it reads the sentences."""
    side = Side.of(target, Tag.union(target.classes), target.classes)
    tiny = backbones.load(str(folder), target)
    values, labels = side.batches(tiny, np.arange(len(side.labels)))
    columns = dict.fromkeys(("target", "source", "unlabelled"), side.columns)
    net = Net(tiny, columns, len(side.columns), seed=0)
    assert side.lengths is not None
    objective = Objective.parse("pseudo")
    net.equip([objective], {"unlabelled": len(target), "elements": int(side.lengths.max())}, 0)
    seeing.refresh(net, Phase(objective, {}), {"unlabelled": Stream(values, labels, 4)}, 0, 10)
    p = np.exp(net.log_probabilities(values, "unlabelled"))
    expected = np.split(class_balanced(np.zeros((len(p), 1)), p, 0.0), np.cumsum(side.lengths)[:-1])
    assert any((y >= 0).any() for y in expected)
    some = np.array([7, 0, 11])
    found = seeing.elements(net.table_class_balanced[some], net.rows_of(tensor(values[some])))
    assert found.tolist() == np.concatenate([expected[i] for i in some]).tolist()


def test_texts_are_no_task_of_tags_and_tags_are_not_compared(target: Domain, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs tagged sentences"):
        crossgraft.fit((["a b", "c d"], ["x", "y"]), out=tmp_path / "run", task="tag")
    with pytest.raises(UsageError, match="not compared yet"):
        crossgraft.gap(target, target)
    with pytest.raises(UsageError, match="not ranked yet"):
        crossgraft.rank(target, [target])


def test_the_report_draws_entities_and_escapes_what_texts_hold(run: crossgraft.Run, tmp_path: Path) -> None:
    import shutil

    from crossgraft.report import write

    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    evil = "<script>alert(1)</script>"
    row = {
        "name": evil, "words": ["the", evil, "שלום"], "probability": 0.9, "labelled": [[1, 2, "person"], [2, 9, "x"]],
        "predicted": [[1, 2, evil, 0.25], [0, 1, "backwards", 0.5], ["a", 2, "x"], 4],
    }  # fmt: skip
    (folder / "sentences.json").write_text(json.dumps([row, 3, "x"]), encoding="utf-8")
    page = write(folder).read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "(25.0" in page
    assert "backwards" not in page
    assert "F1" in page
    assert "By type" in page
    assert "bootstrap over sentences" in page
    (folder / "sentences.json").write_text("{", encoding="utf-8")
    assert "sentences.json could not be read" in write(folder).read_text(encoding="utf-8")


def test_the_command_prints_f1_and_spans(run: crossgraft.Run) -> None:
    from crossgraft.printed import fitted as lines
    from crossgraft.printed import line

    said = "\n".join(lines(run.result))
    assert "F1" in said
    assert "points of F1" in said
    assert "person" in line(run.predict(["the ada saw"])[0])


def test_the_model_card_gives_f1(run: crossgraft.Run) -> None:
    from crossgraft.share import card

    said = card(run)
    assert "token-classification" in said
    assert f"| this model | 15 | {100 * run.result['test']['f1']['value']:.1f} %" in said
