"""f_t as a run keeps it: backbone, head, classes. Saved as plain tensors and JSON; loading executes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from crossgraft import features
from crossgraft.alignments import align, cross_entropy
from crossgraft.backbones.backbone import Backbone
from crossgraft.backbones.stored import restored, stored
from crossgraft.chains import Chain
from crossgraft.domains.domain import Domain, plural
from crossgraft.domains.same_columns import same_columns
from crossgraft.domains.sentences import split_words, with_lengths
from crossgraft.errors import CrossgraftError, UsageError, nearest
from crossgraft.features.frames import Frames, each
from crossgraft.features.ragged import Ragged
from crossgraft.measure.entities import span_probabilities
from crossgraft.measure.unknown import UNKNOWN, energy, stored_threshold
from crossgraft.multilabel import MultiLabel
from crossgraft.several import stated, task_of
from crossgraft.tasks import Classify, Tag, log_softmax, spans
from crossgraft.transcripts import Decoder, Transcribe, timed

MODEL, WEIGHTS = "model.json", "weights.safetensors"
FORMAT = 1


@dataclass(eq=False)
class Model:
    """logits = backbone(x) @ weight + bias over the target's classes; weight (D, K), bias (K,).

    transitions  of a CRF over tags, (K, K)
    unknown  the threshold above which an example is called so, and what it was chosen by (`rejection.py`)
    """

    task: Classify
    backbone: Backbone
    weight: Float[np.ndarray, "D K"]
    bias: Float[np.ndarray, " K"]
    unknown: dict[str, Any] | None = None
    transitions: Float[np.ndarray, "K K"] | None = None

    def log_probabilities(self, domain: Domain, *, tent: bool = False) -> tuple[Any, list[tuple[int, str]]]:
        """log p(y|x) for every example, (N, K), of utterances `Frames`, of a CRF a `Chain`, and (row, reason) of those
        that cannot be read; their rows mean nothing.

        tent  adapt to each batch of the inputs before it is predicted (solve/test_time.py)
        """
        if tent:
            from crossgraft.solve.test_time import tent as adapted

            domain = self._read(domain)
            prepared = features.pixels(domain, self.backbone)
            return adapted(self.backbone, self.weight, self.bias, prepared.values), prepared.failures
        z, failures = self.logits(domain)
        if self.transitions is not None:
            return Chain(z, self.transitions, with_lengths(domain)[1]), failures
        return (self.task.says(z) if isinstance(z, np.ndarray) else each(self.task.says, z)), failures

    def logits(self, domain: Domain) -> tuple[Any, list[tuple[int, str]]]:
        """As `log_probabilities`, before the softmax."""
        domain = self._read(domain)
        if self.backbone.portable:
            prepared = features.features(domain, self.backbone)
            x = prepared.values
        else:  # layers of this run alone: not worth a place in the shared store
            prepared = features.pixels(domain, self.backbone)
            x = features.embed(self.backbone, prepared.values)
        return each(self._of_features, x), prepared.failures

    def _read(self, domain: Domain) -> Domain:
        own = self.backbone
        if domain.kind != own.kind:
            raise CrossgraftError(f"{domain.name} holds {plural(domain.kind)}", f"the model reads {plural(own.kind)}")
        return same_columns(domain, own, "the model")

    def _of_features(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        z: np.ndarray = x.astype(np.float64) @ self.weight + self.bias
        return z

    @property
    def threshold(self) -> float:
        """The score above which an example is called unknown."""
        return stored_threshold(self.unknown, self.task)

    def predict(
        self, domain: Domain, *, tent: bool = False, unknown: bool = False, **decoding: Any
    ) -> list[dict[str, Any]]:
        """One row an example, in order: name, label, probabilities by class, as "unknown" the score of an example of no
        class, which is the label above the threshold with `unknown`; or name and error. Of sentences words, tags, and
        spans with first word, one past the last, type, text and probability; of raw text also characters. Of clips that
        are transcribed the text, its log-probability and each symbol with its seconds, by the best alignment with it;
        `decoding` are options of `Decoder`."""
        above = stored_threshold(self.unknown, self.task, tent) if unknown else np.inf
        one_class = not isinstance(self.task, (Transcribe, MultiLabel)) and self.transitions is None
        if tent and not one_class:
            raise UsageError("tent adapts by the probabilities of one class an example", "leave it out")
        if isinstance(self.task, Transcribe):
            return self._said(domain, self.task, Decoder(self.task, **decoding))
        if isinstance(self.task, Tag):
            return self._spans(domain, self.task, tent)
        z, failures = self.log_probabilities(domain, tent=True) if tent else self.logits(domain)
        errors = dict(failures)
        return [
            {"name": name, "error": errors[i]} if i in errors else self._row(name, z[i : i + 1], above, tent)
            for i, name in enumerate(map(str, domain.names))
        ]

    def _row(self, name: str, z: Float[np.ndarray, "1 K"], above: float, tent: bool = False) -> dict[str, Any]:
        if isinstance(self.task, MultiLabel):
            said = self.task.says(z)
            shares = dict(zip(self.task.classes, said.probabilities[0].tolist(), strict=True))
            return {"name": name, "labels": self.task.names(said)[0], "probabilities": shares}
        score, log_p = float(energy(z)[0]), log_softmax(z)
        label = UNKNOWN if score > above else self.task.decode(log_p)[0]
        shares = dict(zip(self.task.classes, np.exp(log_p[0]).tolist(), strict=True))
        row = {"name": name, "label": label, "probabilities": shares}
        return row | ({} if tent else {"unknown": score})

    def _said(self, domain: Domain, task: Transcribe, decoder: Decoder) -> list[dict[str, Any]]:
        log_p, failures = self.log_probabilities(domain)
        errors = dict(failures)
        return [
            {"name": name, "error": errors[i]} if i in errors else self._transcript(name, log_p.clip(i), decoder)
            for i, name in enumerate(map(str, domain.names))
        ]

    def _transcript(self, name: str, frames: Float[np.ndarray, "T K"], decoder: Decoder) -> dict[str, Any]:
        text = decoder.text(frames)
        own = decoder.task.symbols(text)
        symbols = timed(decoder.task, align(frames, own), self.backbone.times)
        loss = cross_entropy(frames, np.array([len(frames)]), own, np.array([len(own)]))[0]
        return {"name": name, "text": text, "log_probability": -float(loss), "symbols": symbols}

    def hear(
        self, clip: Float[np.ndarray, " n"], name: str, decoder: Decoder | None = None, *, unknown: bool = False
    ) -> dict[str, Any]:
        """As `predict` of one clip, samples at 16 kHz; nothing of it is kept."""
        assert self.backbone.tokens is not None
        x = features.embed(self.backbone, Ragged.of(self.backbone.tokens.encode([clip])))
        if isinstance(x, Frames) and decoder is not None:
            return self._transcript(name, log_softmax(self._of_features(x.flat)), decoder)
        return self._row(name, self._of_features(x), self.threshold if unknown else np.inf)

    def _spans(self, domain: Domain, task: Tag, tent: bool) -> list[dict[str, Any]]:
        left, lengths = with_lengths(domain)
        reasons = {s.name: s.reason for s in left.skipped}
        log_p, _ = self.log_probabilities(left, tent=tent)
        tags, at = task.decode(log_p, lengths), 0
        rows: dict[str, dict[str, Any]] = {}
        for i, n in enumerate(lengths.tolist()):
            words, own = left.read(i), tags[at : at + n]
            found = spans(own)
            likely = span_probabilities(task, log_p[at : at + n], found)
            given = left.inputs[i]
            cuts = split_words(given) if isinstance(given, str) else None
            rows[str(left.names[i])] = {"name": str(left.names[i]), "words": list(words), "tags": own, "spans": [
                {"start": a, "end": b, "type": t, "text": " ".join(words[a:b]), "probability": p}
                | ({"characters": [cuts[a][0], cuts[b - 1][1]]} if cuts else {})
                for (a, b, t), p in zip(found, likely, strict=True)
            ]}  # fmt: skip
            at += n
        return [rows.get(name) or {"name": name, "error": reasons[name]} for name in map(str, domain.names)]

    def save(self, folder: Path) -> None:
        """Write model.json and weights.safetensors; layers that a name cannot find again are among the weights."""
        from safetensors.numpy import save_file

        tensors = {"head.weight": self.weight, "head.bias": self.bias}
        if self.transitions is not None:
            tensors["head.transitions"] = self.transitions
        spec, state = stored(self.backbone)
        tensors |= {f"backbone.{k}": v for k, v in state.items()}
        meta: dict[str, Any] = {
            "format": FORMAT,
            "task": stated(self.task),
            "unknown": self.unknown,
            "backbone": spec,
        }
        scratch = folder / (WEIGHTS + ".part")
        try:
            # safetensors writes memory as it lies: in C order, or the values come back in other places
            save_file({k: np.asarray(v, dtype=_kept(v), order="C") for k, v in tensors.items()}, scratch)
            scratch.replace(folder / WEIGHTS)
            (folder / MODEL).write_text(json.dumps(meta, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as wrong:
            raise CrossgraftError(
                f"cannot write {folder / WEIGHTS}: {wrong.strerror}", "make room, then --resume"
            ) from None

    @classmethod
    def load(cls, folder: Path, layers: Any = None) -> Model:
        """Read a saved model. Raises where a file is missing, damaged or from another backbone revision.

        layers  the module or Backbone of a run that was made with one; others have no use for it
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            meta = json.loads((folder / MODEL).read_text(encoding="utf-8"))
            tensors = load_file(folder / WEIGHTS)
            if meta["format"] != FORMAT:
                raise CrossgraftError(
                    f"{folder / MODEL} has format {meta['format']}", f"this version reads format {FORMAT}"
                )
            spec = meta["backbone"]
            names = ("weight", "bias", "transitions")[: 3 if meta["task"].get("crf") else 2]
            head = {name: tensors.pop(f"head.{name}").astype(np.float64) for name in names}
        except (OSError, ValueError, KeyError, SafetensorError) as wrong:
            raise CrossgraftError(
                f"the model in {folder} cannot be read: {wrong}", "run fit again, or copy the folder again"
            ) from None
        state = {k.removeprefix("backbone."): v for k, v in tensors.items()}
        backbone = restored(spec, state, folder, layers)
        return cls(task_of(meta["task"]), backbone, unknown=meta.get("unknown"), **head)


def _kept(values: np.ndarray) -> np.dtype[Any]:
    """Weights are kept as float32, counters as they are."""
    return np.dtype(np.float32) if values.dtype == np.float64 else values.dtype


def of_classes(domain: Domain, classes: tuple[str, ...], unknown: bool) -> Domain:
    """The domain with labels that are no class of the model as missing; without `unknown` they are an error."""
    strange = [y for y in domain.labels if y not in classes]
    if strange and not unknown:
        hint = nearest(str(strange[0]), list(classes)) or f"the classes are {', '.join(classes[:10])}"
        remedy = f"{hint}; --unknown takes such labels for unknown ones"
        raise CrossgraftError(f"label {strange[0]!r} is none of the {len(classes)} classes of the model", remedy)
    kept = np.array([y if y in classes else None for y in domain.labels], dtype=object)
    return replace(domain, labels=kept)
