"""The target's language, learned before its task: words of its texts without labels, one more cross-entropy.

H = -(1/n) sum_i log Q(w_i | the text around it), nats a word piece: masked words (Devlin et al., NAACL 2019), of a
causal model the next word; on the texts of the task itself (Gururangan et al., ACL 2020). What was learned is then the
backbone of the four steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from crossgraft.backbones.backbone import TYPE_BITS, Backbone, Language
from crossgraft.backbones.weights import state_revision
from crossgraft.errors import CrossgraftError, UsageError
from crossgraft.features.ragged import Ragged
from crossgraft.measure.compare import paired
from crossgraft.measure.groups import interval
from crossgraft.objective.algebra import Objective, Term
from crossgraft.prepare import Job
from crossgraft.progress import say
from crossgraft.seeds import rng, seed_for
from crossgraft.tasks import MISSING

if TYPE_CHECKING:
    from torch import Tensor

    from crossgraft.backbones.language import Vocabulary
    from crossgraft.solve.batches import Hide
    from crossgraft.solve.net import Net
    from crossgraft.solve.settings import Settings

FEWEST = 20  # texts
HELD = 100  # texts that are only asked: a tenth, at most so many, and a quarter of FEWEST at least
HEAD_SHARE, HEAD_RATE = 1 / 3, 1e-3  # of the steps, in which a new head learns alone
OBJECTIVE = Objective((Term("words", "target"),))
USE = "language"


@dataclass(eq=False)
class Asked:
    """Texts that are only asked, always for the same words.

    values  their chunks, with these words hidden and marked
    words   what they are, (M,)
    owner   the text that each is of, (M,)
    """

    values: Ragged
    words: Tensor
    owner: Int[np.ndarray, " M"]

    @classmethod
    def of(cls, chunks: Ragged, owner: Int[np.ndarray, " C"], hide: Hide, seed: int) -> Asked:
        """Words drawn by `seed` from the chunks of some texts."""
        from torch import Generator

        from crossgraft.features.ragged import tensor

        given, words = hide(tensor(chunks), Generator().manual_seed(seed))
        values = Ragged.of([row[row >= 0] for row in given.numpy()])
        return cls(values, words, np.unique(np.repeat(owner, values.words), return_inverse=True)[1])

    @property
    def words_of(self) -> Float[np.ndarray, " n"]:
        """How many words of each text are asked for."""
        return np.bincount(self.owner).astype(float)

    def losses(self, net: Net) -> Float[np.ndarray, " n"]:
        """Nats of all words of each text."""
        import torch

        vocabulary: Any = net.heads["vocabulary"]
        device = net.linear.weight.device
        vocabulary.eval()
        each = vocabulary.losses(torch.from_numpy(net.embed(self.values)).to(device), self.words.to(device))
        return np.bincount(self.owner, weights=each.double().cpu().numpy())


def learn_language(job: Job, folder: Path, log: Callable[[dict[str, Any]], None]) -> None:
    """Let the job's layers learn the words of the target's inputs that may be learned from; they are its backbone then.

    The texts are those of `Side.unlabelled`. A tenth of them is only asked: their cross-entropy stops the training, and
    is reported before and after. A head that did not come with the model learns first, alone.

    Raises UsageError where the layers cannot be asked for words, CrossgraftError where there are too few texts.
    """
    from crossgraft.solve.words import chunked

    backbone, target = job.backbone, job.target
    if backbone.language is None or backbone.tokens is None or not backbone.pretrained:
        raise UsageError(f"backbone {backbone.name} has no language to go on from", "use auto, or a pretrained encoder")
    language, free = backbone.language(), target.unlabelled()
    order = rng(job.recipe.seed, USE).permutation(free)
    n = max(min(len(order) // 10, HELD), FEWEST // 4)
    rows, length = target.pixels(backbone), backbone.tokens.length
    held, owner = chunked(rows[order[:n]], length, language)
    learned, _ = chunked(rows[order[n:]], length, language)
    if len(free) < FEWEST or not len(held) or not len(learned):
        what = f"masked_steps learns from the target's texts, and there are {len(free)} that may be learned from"
        raise CrossgraftError(what, f"add texts without labels, {FEWEST} in all, or leave it out")
    say(f"learn the language of {len(order) - n:,} texts of the target")
    module, said = _learn(job, language, learned, (held, owner), folder, log)
    job.backbone = replace(
        backbone, build=lambda: module, portable=False, adapted=backbone.published, revision=state_revision(module)
    )
    hidden = int((target.domain.splits[order[n:]] == "test").sum())
    job.language = {"texts": len(order) - n, "test_inputs": hidden, "n": n} | said


def _learn(
    job: Job, language: Language, learned: Ragged, held: tuple[Ragged, Int[np.ndarray, " C"]], folder: Path,
    log: Callable[[dict[str, Any]], None],
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """A copy of the job's layers that has learned these chunks, and what is said of it."""
    import torch

    from crossgraft.backbones.encoder import WordEncoder
    from crossgraft.objective import heads
    from crossgraft.solve.batches import Stream
    from crossgraft.solve.loop import train
    from crossgraft.solve.net import Net
    from crossgraft.solve.schedules import Phase, Stage
    from crossgraft.solve.words import hide_for

    backbone, seed, steps = job.backbone, job.recipe.seed, job.recipe.masked_steps
    assert steps is not None
    module: Any = backbone.fresh(seed_for(seed, f"{USE}/layers"))
    layers = WordEncoder(module.encoder, module.length, "words", normalise=False, types=module.types)
    net = Net(replace(backbone, kind="sentence", build=lambda: layers), {"target": np.arange(1)}, 1, seed=0)
    vocabulary: Vocabulary = language.head(module, seed_for(seed, f"{USE}/head"))
    net.heads["vocabulary"] = vocabulary
    size = len(vocabulary.weight)
    vocabulary.expect(torch.from_numpy(np.bincount(learned.flat & ((1 << TYPE_BITS) - 1), minlength=size)))
    hide = hide_for(language, size)
    asked = Asked.of(*held, hide, seed_for(seed, f"{USE}/asked"))

    def go(stage: str, parts: list[str], steps: int, rate: float | None, judged: bool) -> None:
        settings = _settings(job, backbone, len(learned), steps, rate)
        stream = Stream(learned, np.full(len(learned), MISSING), settings.batch_size, hide=hide)
        phase = Phase(OBJECTIVE, dict.fromkeys(parts, 1.0))
        train(
            net, [Stage(stage, (phase,), steps)], {"target": stream}, settings, seed=seed, use=f"{USE}/{stage}",
            evaluate=(lambda net: float(asked.losses(net).sum() / len(asked.words))) if judged else None,
            checkpoint=folder / f"{USE}-{stage}.safetensors", log=lambda row: log({"model": USE} | row),
        )  # fmt: skip

    head = heads.part("vocabulary")
    alone = 0 if vocabulary.known else int(steps * HEAD_SHARE)
    if alone:
        go("head", [head], alone, HEAD_RATE, judged=False)
    before = asked.losses(net)
    go("all", [*(name for name, _ in backbone.groups), head], steps - alone, None, judged=True)
    after = asked.losses(net)
    words = asked.words_of
    return module.eval(), {
        "objective": str(OBJECTIVE),
        "asked": "next" if language.causal else "masked",
        "head": "own" if vocabulary.known else "new",
        "steps": steps,
        "words": len(asked.words),
        "before": interval(np.stack([before, words], 1)).json(),
        "after": interval(np.stack([after, words], 1)).json(),
        "difference": interval(np.stack([after - before, words], 1)).json() | {"p": paired(after, before).p},
    }


def _settings(job: Job, backbone: Backbone, n: int, steps: int, rate: float | None) -> Settings:
    """As of layers that learn the task, without what is about classes."""
    from crossgraft.solve.settings import settings_for

    plain = {"steps": steps, "label_smoothing": 0.0, "class_weights": "none", "mixup": 0.0}
    plain |= {} if rate is None else {"lr": rate}
    return settings_for(job.recipe.model_copy(update=plain), "full", n, backbone)
