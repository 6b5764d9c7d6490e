"""Words of the target's texts before its task, and causal models as encoders: against transformers and by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crossgraft
from crossgraft import backbones, features
from crossgraft.backbones.backbone import WORD_BIT, Backbone, Language
from crossgraft.domains import open_domain
from crossgraft.errors import CrossgraftError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from torch.nn import functional as F  # noqa: E402

from crossgraft.objective import terms  # noqa: E402
from crossgraft.objective.views import View  # noqa: E402
from crossgraft.solve.words import chunked, following, hidden  # noqa: E402

pytestmark = pytest.mark.usefixtures("float32")

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["good", "great", "love", "fine", "bad", "awful", "hate", "poor", "a", "the", "it", "is", "was", "very"]
LONG = 16
KINDS: dict[str, dict[str, Any]] = {
    "bert": {}, "roberta": {"pad_token_id": 0}, "distilbert": {"n_layers": 1, "n_heads": 2, "hidden_dim": 32},
    "gpt2": {"n_layer": 1, "n_head": 2, "n_inner": 32},
    "llama": {"num_key_value_heads": 1}, "qwen2": {"num_key_value_heads": 1},
}  # fmt: skip


def made(at: Path, kind: str, *, head: bool) -> Path:
    """A model of one layer with a tokenizer of words; with its head over them where `head`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    at.mkdir(parents=True)
    vocabulary = {w: i for i, w in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(SPECIAL)
    causal = kind in ("gpt2", "llama", "qwen2")
    if not causal:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(at / "tokenizer.json"))
    options = {
        "vocab_size": len(vocabulary), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": LONG + 2 * (kind == "roberta"),
    } | KINDS[kind]  # fmt: skip
    if kind in ("gpt2", "distilbert"):
        names = {"gpt2": ("n_embd", "n_positions"), "distilbert": ("dim", "max_position_embeddings")}[kind]
        options = {"vocab_size": len(vocabulary), names[0]: 16, names[1]: LONG} | KINDS[kind]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(kind, **options)
    auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
    model = auto.from_config(config) if head else transformers.AutoModel.from_config(config)
    (at / "tokenizer_config.json").write_text(json.dumps({"model_max_length": LONG, "mask_token": "[MASK]"}))
    model.save_pretrained(at)
    return at


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("models")
    return {k: made(at / k, k, head=True) for k in KINDS} | {"bare": made(at / "bare", "bert", head=False)}


def loaded(folder: Path, texts: Any = ("a",)) -> Backbone:
    return backbones.load(str(folder), open_domain(list(texts), "it"))


def reviews(n: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts whose class is in one of their words; `very` stands before it always."""
    draw = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(n):
        words = list(draw.choice(WORDS[8:13], 5))
        words.insert(int(draw.integers(6)), f"very {draw.choice(WORDS[:4] if i % 2 else WORDS[4:8])}")
        texts.append(" ".join(words))
        labels.append("pos" if i % 2 else "neg")
    return texts, labels


def test_a_share_of_words_is_hidden_and_no_special_token() -> None:
    tokens = torch.randint(5, 19, (400, 40), dtype=torch.int32)
    tokens[:, 0], tokens[:, 20], tokens[::2, 30:] = 2, 3 + (1 << 24), -1
    special = torch.arange(5, dtype=torch.int32)
    given, words = hidden(tokens, torch.Generator().manual_seed(0), special, 4, 19)
    asked = (given >= 0) & (given & WORD_BIT != 0)
    assert not asked[:, [0, 20]].any()
    assert torch.equal(words, tokens[asked].long())
    assert torch.equal(given[~asked], tokens[~asked])
    new = given[asked] & 0xFFFFFF
    may = ((tokens >= 5) & (tokens < 19)).sum()
    assert len(words) / may == pytest.approx(0.15, abs=0.015)
    assert (new == 4).float().mean() == pytest.approx(0.8 + 0.1 / 19, abs=0.03)
    assert (new == words).float().mean() == pytest.approx(0.1 + 0.1 / 19, abs=0.02)
    _, said = hidden(tokens[:, :2], torch.Generator().manual_seed(0), special, 4, 19)
    assert len(said) == 400  # of a text of one word that one


def test_the_words_that_follow_are_asked_for_behind_each_token() -> None:
    tokens = torch.tensor([[7, 8, 1, 9], [7, -1, -1, -1]], dtype=torch.int32)
    given, words = following(tokens, torch.tensor([1], dtype=torch.int32))
    assert words.tolist() == [8, 9]
    assert ((given >= 0) & (given & WORD_BIT != 0)).tolist() == [[True, False, True, False], [False] * 4]


@pytest.mark.parametrize("rows", [3, 5, 1200])
@pytest.mark.parametrize("built_in", [True, False])
def test_the_cross_entropy_in_pieces_is_that_of_all_logits(
    rows: int, built_in: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not built_in:
        monkeypatch.delattr(F, "linear_cross_entropy", raising=False)
    draw = torch.Generator().manual_seed(0)
    leaves = [torch.randn(s, generator=draw).requires_grad_() for s in ((rows, 4), (11, 4), (11,))]
    labels = torch.randint(11, (rows,), generator=draw)
    x, weight, bias = leaves
    F.cross_entropy(F.linear(x, weight, bias), labels).backward()
    expected = [leaf.grad.clone() for leaf in leaves if leaf.grad is not None]
    for leaf in leaves:
        leaf.grad = None
    value = terms.words(View(x, x[:, :1], labels), vocabulary=lambda f: (f, weight, bias))  # type: ignore[arg-type]
    value.backward()
    assert torch.allclose(value, F.cross_entropy(F.linear(x, weight, bias), labels), atol=1e-6)
    assert all(torch.allclose(leaf.grad, g, atol=1e-6) for leaf, g in zip(leaves, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_over_the_vocabulary_is_the_models_own(kind: str, folders: dict[str, Path]) -> None:
    backbone = loaded(folders[kind])
    assert backbone.language is not None
    assert backbone.tokens is not None
    language = backbone.language()
    causal = kind in ("gpt2", "llama", "qwen2")
    assert (language.causal, language.mask) == (causal, None if causal else 4)
    head = language.head(backbone.module, 0)
    assert head.known
    auto = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
    model = auto.from_pretrained(folders[kind]).eval()
    ids = torch.tensor([backbone.tokens.encode(["good it was"])[0].tolist()])
    with torch.inference_mode():
        states = backbone.module.encoder(input_ids=ids).last_hidden_state[0]
        x, weight, bias = head.eval()(states)
        assert torch.allclose(F.linear(x, weight, bias), model(input_ids=ids).logits[0], atol=1e-5)
    tied = weight is backbone.module.encoder.get_input_embeddings().weight
    assert tied == bool(model.config.tie_word_embeddings)
    assert len({id(p) for p in head.parameters()} & {id(p) for p in backbone.module.parameters()}) == 0


def test_a_model_without_a_head_gets_one_that_begins_at_the_words_frequencies(folders: dict[str, Path]) -> None:
    backbone = loaded(folders["bare"])
    assert backbone.language is not None
    a, b = (backbone.language().head(backbone.module, 3) for _ in range(2))
    assert not a.known
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    a.expect(torch.tensor([99, *[0] * 18]))
    assert a.bias is not None
    assert a.bias.exp().sum().item() == pytest.approx(1)
    assert a.bias[0].exp().item() == pytest.approx(100 / 118)


def test_chunks_that_have_no_word_are_left_out(folders: dict[str, Path]) -> None:
    backbone = loaded(folders["bert"])
    assert backbone.tokens is not None
    from crossgraft.features.ragged import Ragged

    language = Language(False, 4, tuple(range(5)), lambda layers, seed: layers)  # type: ignore[arg-type,return-value]
    rows = Ragged.of(backbone.tokens.encode(["good " * 20, "?", "bad"]))
    chunks, owner = chunked(rows, LONG, language)
    assert owner.tolist() == [0, 0, 2]
    assert sum((row >= 5).sum() for row in chunks.padded()) == 21


def fitted(out: Path, folder: Path, **options: Any) -> crossgraft.Run:
    asked = {"backbone": str(folder), "shots": 8, "schedule": "frozen", "masked_steps": 40, "lr": 1e-2}
    asked |= {"guard": False} | options
    return crossgraft.fit(reviews(80, 0), reviews(60, 1), out=out, **asked)


@pytest.mark.parametrize("kind", ["bert", "bare", "llama"])
def test_layers_that_learned_the_words_are_those_of_the_four_steps(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    run = fitted(tmp_path / "run", folders[kind])
    said = run.result["language"]
    assert said["after"]["value"] < said["before"]["value"] - 0.1
    for told in (said["before"], said["after"]):  # over words, however many a text has
        assert 0.5 * told["value"] < told["low"] <= told["value"] <= told["high"] < 1.5 * told["value"]
    assert said["difference"]["value"] == pytest.approx(said["after"]["value"] - said["before"]["value"])
    assert said["head"] == ("new" if kind == "bare" else "own")
    assert (said["texts"], said["n"], said["test_inputs"]) == (72, 8, pytest.approx(58, abs=6))
    assert run.result["backbone"]["revision"] != loaded(folders[kind]).revision
    page = (tmp_path / "run" / "report.html").read_text()
    assert "learned before" in page
    assert ("the next word" if kind == "llama" else "a masked word") in page
    texts = reviews(20, 2)[0]
    opened = crossgraft.Run.open(tmp_path / "run")
    stated = [list(row["probabilities"].values()) for row in opened.predict(texts)]
    assert np.allclose(np.sum(stated, 1), 1)
    own = features.features(open_domain(texts, "it"), loaded(folders[kind])).values
    moved = features.embed(
        opened.model.backbone, features.pixels(open_domain(texts, "it"), opened.model.backbone).values
    )
    assert not np.allclose(own, moved, atol=1e-2)  # and the store still holds those of the layers as they came


def test_resumed_words_are_the_same_to_the_last_bit(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossgraft.solve import engine, settings

    whole = fitted(tmp_path / "a", folders["bare"])
    descend, every, made = engine.Engine.descend, settings.settings_for, [0]

    def stops(self: Any, *args: Any) -> None:
        made[0] += 1
        if made[0] == 31:  # of 13 for the head alone and 27 for all
            raise KeyboardInterrupt
        descend(self, *args)

    monkeypatch.setattr(engine.Engine, "descend", stops)
    monkeypatch.setattr(settings, "settings_for", lambda *a: replace(every(*a), checkpoint_every=0.0))
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "b", folders["bare"])
    assert (tmp_path / "b" / "checkpoints" / "language-all.safetensors").exists()
    resumed = fitted(tmp_path / "b", folders["bare"], resume=True)
    assert made[0] < 31 + 27  # the head does not learn again
    same = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert same[0] == same[1]
    assert resumed.result["language"] == whole.result["language"]


def test_words_are_learned_before_tags_too(folders: dict[str, Path], tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    sentences = [[str(w) for w in draw.choice(WORDS[8:], 5)] + [WORDS[i % 8]] for i in range(60)]
    tags = [["O"] * 5 + [f"B-{'pos' if i % 8 < 4 else 'neg'}"] for i in range(60)]
    for kind in ("bert", "gpt2"):
        run = crossgraft.fit(
            (sentences, tags, ["train"] * 40 + ["test"] * 20), (sentences, tags), backbone=str(folders[kind]),
            schedule="frozen", masked_steps=30, lr=1e-2, guard=False, baselines=False, out=tmp_path / kind,
        )  # fmt: skip
        said = run.result["language"]
        assert (said["texts"], said["n"], said["test_inputs"]) == (35, 5, 0)
        assert said["after"]["value"] < said["before"]["value"]
        assert run.result["test"]["f1"]["value"] > 0.9
        assert any("from left to right" in w for w in run.result["warnings"]) == (kind == "gpt2")


@pytest.mark.parametrize(
    ("target", "options", "said"),
    [
        ((np.zeros((30, 2), np.float32), ["a", "b"] * 15), {}, "holds vectors"),
        ((np.zeros((30, 8, 8), np.uint8), ["a", "b"] * 15), {"backbone": "cnn"}, "holds images"),
        (reviews(30, 0), {"backbone": "words"}, "no language to go on from"),
        ((["so good", "so bad"] * 4, ["a", "b"] * 4), {}, "there are 8 that may be learned from"),
        (reviews(30, 0), {"objective": "ce(target) + words(target)"}, "before the task, not beside it"),
    ],
)
def test_what_cannot_be_asked_for_words_is_refused(
    folders: dict[str, Path], tmp_path: Path, target: Any, options: dict[str, Any], said: str
) -> None:
    options = {"backbone": str(folders["bert"]), "shots": 2} | options
    if "vectors" in said:
        options["backbone"] = "mlp"
    with pytest.raises(CrossgraftError, match=said):
        crossgraft.fit(target, target, masked_steps=5, out=tmp_path / "run", **options)
    assert not (tmp_path / "run" / "measures.jsonl").exists()


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen2"])
def test_a_causal_model_is_pooled_at_its_last_token_whatever_stands_beside(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(folders[kind], own)
    (own / "tokenizer_config.json").write_text(json.dumps({"padding_side": "left", "pad_token": None}))
    backbone = loaded(own)
    assert backbone.tokens is not None
    assert (backbone.causal, backbone.tokens.length) == (True, LONG)
    texts = ["good", "it is very good the the the a", "bad it", "good " * (LONG + 4)]
    found = features.features(open_domain(texts, "it"), backbone)
    model = transformers.AutoModel.from_pretrained(own).eval()
    for text, row in zip(texts[:3], found.values, strict=False):
        ids = torch.tensor([[5 + WORDS.index(w) for w in text.split()]])
        with torch.inference_mode():
            expected = model(input_ids=ids).last_hidden_state[0, -1].numpy()
        assert np.allclose(row, expected, atol=1e-5)
    assert np.isfinite(found.values).all()
    assert [name for name, _ in backbone.groups] == ["embeddings", "layer.0", "top"]


def test_pooling_of_a_causal_model_by_its_own_files(folders: dict[str, Path], tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(folders["llama"], own)
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    (own / "modules.json").write_text(json.dumps(modules))
    (own / "1_Pooling").mkdir()
    (own / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    row = features.features(open_domain(["good bad it"], "it"), loaded(own)).values[0]
    model = transformers.AutoModel.from_pretrained(own).eval()
    with torch.inference_mode():
        states = model(input_ids=torch.tensor([[5, 9, 15]])).last_hidden_state[0].numpy()
    assert np.allclose(row, states.mean(0), atol=1e-5)


def test_layers_of_a_causal_model_learn_and_are_found_again(folders: dict[str, Path], tmp_path: Path) -> None:
    run = crossgraft.fit(
        reviews(120, 0), reviews(120, 1), backbone=str(folders["qwen2"]), shots=8, schedule="lp_ft", steps=40, lr=1e-2,
        guard=False, baselines=False, out=tmp_path / "run",
    )  # fmt: skip
    assert run.result["test"]["accuracy"]["value"] > 0.8
    assert crossgraft.Run.open(tmp_path / "run").score(reviews(60, 2))["accuracy"]["value"] > 0.8


def test_adapters_stand_beside_the_layers_of_gpt2_too(folders: dict[str, Path]) -> None:
    import adapter_kit

    from crossgraft.features.ragged import Ragged, tensor

    backbone = loaded(folders["gpt2"])
    assert backbone.tokens is not None
    rows = tensor(Ragged.of(backbone.tokens.encode(["good it is", "bad"])))
    adapter_kit.stand_beside(backbone.fresh(0).eval(), rows)


def test_the_last_piece_of_a_word_stands_for_it_where_only_that_has_seen_it(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    from crossgraft.backbones.tokenizer import sentence_encoder_of

    pieces = {"\u0120": 0, "a": 1, "d": 2, "\u0120a": 3, "\u0120ad": 4}
    tokenizer = Tokenizer(models.BPE(pieces, [("\u0120", "a"), ("\u0120a", "d")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    for last, places in ((True, [1, 2]), (False, [0, 2])):
        row = sentence_encoder_of(tmp_path, 16, last=last)([("ada", "a")])[0]
        assert (row & ~WORD_BIT).tolist() == [4, 1, 3]  # a space before every word, also the first
        assert np.flatnonzero(row & WORD_BIT).tolist() == places
