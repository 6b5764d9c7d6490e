"""The head over the vocabulary that a model of texts predicts words with: its own, or a new one of its architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from crossgraft.backbones.backbone import Language
from crossgraft.backbones.published import quiet
from crossgraft.backbones.tokenizer import mask_and_special
from crossgraft.errors import CrossgraftError

AT_ONCE = 1024  # words whose logits over the whole vocabulary are in memory together


class Vocabulary(nn.Module):
    """States (M, D) to logits over the vocabulary (M, V): transform(states) @ weight.T + bias.

    embeddings  the layers' own, of which `weight` is that of the words where the model ties the two; not a part of
                this module, so that they learn, and are saved, once
    known       whether the head came with the model
    """

    def __init__(
        self, transform: nn.Module, decoder: nn.Linear, embeddings: nn.Module, *, tied: bool, known: bool
    ) -> None:
        super().__init__()
        self.transform, self.known = transform, known
        self.tied: tuple[nn.Module, ...] = (embeddings,) if tied else ()
        self.own = None if tied else nn.Parameter(decoder.weight.detach().clone())
        self.bias = None if decoder.bias is None else nn.Parameter(decoder.bias.detach().clone())

    @property
    def weight(self) -> Float[Tensor, "V E"]:
        """A row a word."""
        weight: Any = self.tied[0].weight if self.own is None else self.own
        found: Tensor = weight
        return found

    def forward(self, states: Float[Tensor, "M D"]) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the logits are a linear map of (M, E), and that map."""
        return self.transform(states), self.weight, self.bias

    def losses(self, states: Float[Tensor, "M D"], words: Int[Tensor, " M"]) -> Float[Tensor, " M"]:
        """-log Q(word), nats, in inference mode."""
        with torch.inference_mode():
            x, weight, bias = self(states)
            parts = zip(torch.split(x, AT_ONCE), torch.split(words, AT_ONCE), strict=True)
            return torch.cat([F.cross_entropy(F.linear(z, weight, bias), y, reduction="none") for z, y in parts])

    def expect(self, counts: Int[Tensor, " V"]) -> None:
        """Let a new head begin at the frequencies of the words: a bias of log (n_w + 1) / (n + V)."""
        if self.bias is not None and not self.known:
            with torch.no_grad():
                self.bias.copy_(((counts + 1) / (counts.sum() + len(counts))).log())


class _Transform(nn.Module):
    """What a masked language model does between the states and the logits' linear map; its layers are not asked."""

    def __init__(self, model: Any, decoder: nn.Linear) -> None:
        super().__init__()
        self.given = _Given()
        setattr(model, model.base_model_prefix, self.given)
        shared = [decoder.weight, decoder.bias]
        for module in model.modules():
            for name, own in list(module._parameters.items()):
                if module is not decoder and any(own is p for p in shared if p is not None):
                    setattr(module, name, None)  # BERT keeps the bias in two places
            for name, child in list(module.named_children()):
                if child is decoder:
                    setattr(module, name, nn.Identity())
        self.model = model

    def forward(self, states: Float[Tensor, "M D"]) -> Float[Tensor, "M E"]:
        self.given.states = states[None]
        found: Tensor = self.model(input_ids=None).logits[0]
        return found


class _Given(nn.Module):
    """In the place of a model's layers: gives the states that it was given."""

    states: Tensor

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=self.states)


def language_of(folder: Path, config: Mapping[str, Any], causal: bool, own: bool) -> Language:
    """How the model in a folder is asked for words. Raises CrossgraftError where it cannot be.

    own  whether the folder's weights are those of the layers, so that its head belongs to them
    """
    mask, special = mask_and_special(folder)
    if mask is None and not causal:
        raise CrossgraftError(f"the tokenizer in {folder} has no token for a hidden word", "use another encoder")

    def head(layers: nn.Module, seed: int) -> Vocabulary:
        return _head(folder, layers, causal, own, seed)

    return Language(causal, None if causal else mask, special, head)


def _head(folder: Path, layers: Any, causal: bool, own: bool, seed: int) -> Vocabulary:
    import transformers

    make: Any = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForMaskedLM
    what = "use an encoder of which transformers has a language model, such as BERT or RoBERTa"
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if own:
                model, found = make.from_pretrained(folder, use_safetensors=True, output_loading_info=True)
                missing = set(found["missing_keys"])
            else:
                model = make.from_config(transformers.AutoConfig.from_pretrained(folder))
                missing = set(model.state_dict())
        except Exception as wrong:  # whatever an unknown or damaged model raises
            why = (str(wrong).splitlines() or [type(wrong).__name__])[0][:160]
            raise CrossgraftError(f"the model in {folder} has no head over its vocabulary ({why})", what) from None
    model = model.float().eval()
    body, decoder = model.base_model, model.get_output_embeddings()
    known = not any(not name.startswith(f"{model.base_model_prefix}.") for name in missing)
    tied = decoder.weight is body.get_input_embeddings().weight
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        expected = model(input_ids=ids).logits[0]
        states = body(input_ids=ids).last_hidden_state[0]
    transform = nn.Identity() if causal else _Transform(model, decoder)
    made = Vocabulary(transform, decoder, body.get_input_embeddings(), tied=tied, known=known)
    with torch.inference_mode():
        x, weight, bias = made(states)
        if not torch.allclose(F.linear(x, weight, bias), expected, atol=1e-4):
            raise CrossgraftError(f"the model in {folder} does more than a linear map to reach its vocabulary", what)
    made.tied = (layers.encoder.get_input_embeddings(),) if tied else ()
    return made.train(layers.training)
