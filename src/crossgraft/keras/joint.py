"""Target and source cross-entropy, and a domain term, in one Keras model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Float

from crossgraft.backbones.keras_backend import imported
from crossgraft.errors import UsageError
from crossgraft.keras.feeding import joined
from crossgraft.keras.given import feature_width, kind_of, listed
from crossgraft.keras.layers import DomainClassifier
from crossgraft.keras.plain import plain
from crossgraft.keras.steps import Steps
from crossgraft.keras.terms import cross_entropy, domain_cross_entropy, labelled, mean, ramp, reverse
from crossgraft.tasks import shared_columns

keras = imported()
ops = keras.ops
Weight = float | Callable[[Any], Any]


@keras.saving.register_keras_serializable(package="crossgraft")
class JointModel(keras.Model):  # type: ignore[misc]
    """CE(target) + lam CE(source) + rho domain CE with the gradient reversed, in nats; predicts p(y|x) of the target.

    backbone          a functional or Sequential model from inputs to features (B, D), or to (B, H, W, D), which is
                      averaged; layers that learn are those that are `trainable`
    classes           the target's: their number, or their names
    source_classes    the source's names where they differ: classes of one name share their column of the head
    lam, rho          weights: numbers, or functions of the step such as a `keras.optimizers.schedules` one; a number 0
                      costs nothing. Below the domain classifier the gradient is reversed times 2 / (1 + e^(-10 p)) - 1,
                      p the share of the steps of `fit` (Ganin et al. 2016)
    head              layers from features to logits over the columns of all classes, by default one Dense
    augment           layers before the backbone, in training alone
    learn_statistics  call the backbone with training=True: statistics of BatchNormalization are then taken from
                      source and target together, and its Dropout works

    `compile` takes no loss; its metrics are those of the target's labelled rows. `fit` takes `joined(target, source)`,
    or anything that gives ({"target": x, "source": x}, {"target": y, "source": y}) with labels 0..k-1, -1 where one is
    missing; `evaluate` and validation_data take a target's (x, y).

    >>> import numpy as np
    >>> x, y = np.eye(4, dtype="float32"), np.arange(4) % 2
    >>> model = JointModel(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), classes=2, lam=0.3, rho=0.1)
    >>> model.compile("adam", metrics=["accuracy"])
    >>> history = model.fit(model.joined((x[:2], y[:2]), (x, y)), verbose=0)
    >>> sorted(history.history), model.predict(x, verbose=0).shape
    (['accuracy', 'domain', 'loss', 'source', 'target'], (4, 2))
    """

    def __init__(
        self,
        backbone: Any,
        classes: int | Sequence[str],
        source_classes: Sequence[str] | None = None,
        *,
        lam: Weight = 1.0,
        rho: Weight = 0.0,
        head: Any = None,
        augment: Any = None,
        learn_statistics: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for name, weight in (("lam", lam), ("rho", rho)):
            if not callable(weight) and not 0 <= weight < float("inf"):
                raise UsageError(f"{name} is {weight}", "give 0 or more, or a function of the step")
        self.backbone, self.lam, self.rho, self.augment = backbone, lam, rho, augment
        self.classes, self.source_classes, self.learn_statistics = classes, source_classes, learn_statistics
        self.width, self.columns, n_columns = shared_columns(classes, source_classes)
        width = feature_width(backbone)
        self.head = head if head is not None else keras.layers.Dense(n_columns, name="head")
        self.domain = DomainClassifier(name="domain") if callable(rho) or rho else None
        for layer in (self.head, self.domain):
            if layer is not None and not layer.built:
                layer.build((None, width))
        if (columns := self.head.compute_output_shape((None, width))[-1]) != n_columns:
            raise UsageError(f"the head gives {columns} columns", f"all classes together are {n_columns}")
        self.step = self.add_weight((), "zeros", "int32", trainable=False, name="step")
        self.steps = self.add_weight((), "zeros", "int32", trainable=False, name="steps")
        self.means = {name: keras.metrics.Mean(name=name) for name in self.terms}
        self.built = True

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms that weigh more than nothing."""
        source = ("source",) if callable(self.lam) or self.lam else ()
        return ("target", *source, *(("domain",) if self.domain is not None else ()))

    def joined(self, target: Any, source: Any = None, unlabelled: Any = None, **options: Any) -> Any:
        """Batches for `fit`; what no term reads is not read. See `crossgraft.keras.feeding.joined`."""
        reads = {"source": len(self.terms) > 1, "unlabelled": "domain" in self.terms}
        given = {"source": source, "unlabelled": unlabelled}
        if source is None and len(self.terms) > 1:
            raise UsageError("no source is given", "give one, or set lam and rho to 0")
        return joined({"target": target} | {k: v for k, v in given.items() if v is not None and reads[k]}, **options)

    def call(self, inputs: Any, training: bool | None = False) -> Any:
        """Probabilities of the target's classes (B, K); of a batch of domains the logits that its terms read."""
        if not _of_domains(inputs):
            return ops.softmax(self._logits(self._features(inputs, training), training)[:, : self.width])
        reads = {"target": True, "source": len(self.terms) > 1, "unlabelled": self.domain is not None}
        keep = [d for d in reads if d in inputs and reads[d]]
        parts = [inputs[d] for d in keep]
        sizes = [ops.shape(keras.tree.flatten(part)[0])[0] for part in parts]
        whole = keras.tree.map_structure(lambda *x: ops.concatenate(x), *parts) if len(parts) > 1 else parts[0]
        features = self._features(whole, training)
        at = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        rows = {d: features[at[i] : at[i + 1]] for i, d in enumerate(keep)}
        out = {"target": self._logits(rows["target"], training)[:, : self.width]}
        if "source" in self.terms:
            logits = self._logits(rows["source"], training)
            out["source"] = logits if self.columns is None else ops.take(logits, self.columns, axis=1)
        if self.domain is not None:
            scale = ramp(self.progress)
            for name, d in (("on_source", "source"), ("on_target", "unlabelled" if "unlabelled" in rows else "target")):
                out[name] = self.domain(reverse(rows[d], scale))
        if training:
            self.step.assign(self.step + 1)
        return out

    @property
    def progress(self) -> Any:
        """The share of the steps of `fit` that is done; 1 where it has none."""
        share = ops.cast(self.step, "float32") / ops.cast(ops.maximum(self.steps, 1), "float32")
        return ops.where(self.steps > 0, ops.minimum(share, 1.0), 1.0)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The objective, nats, and what layers add of their own (regularisers)."""
        if sample_weight is not None:
            raise UsageError("sample weights and class weights are not known here", "give x and y alone")
        values = self._values(y, y_pred)
        now = self.step - 1 if training and _of_domains(x) else self.step  # that the batch was passed through
        weights = {"target": 1.0, "source": self.lam, "domain": self.rho}
        total = sum((_at(weights[name], now) * value for name, value in values.items()), ops.zeros(()))
        return sum((self._aggregate_additional_loss(own) for own in self.losses), total)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Each term in nats, and the compiled metrics on the target's labelled rows."""
        values = self._values(y, y_pred)
        rows = ops.shape(keras.tree.flatten(x)[0])[0]  # as Keras weighs the loss of a batch
        for name, value in values.items():
            self.means[name].update_state(value, sample_weight=rows)
        joint = _of_domains(x)
        if self._compile_metrics is not None:
            known, labels = labelled(y["target"] if joint else y)
            p = ops.softmax(y_pred["target"]) if joint else y_pred
            self._compile_metrics.update_state(labels, p, sample_weight=known)
        left_out = {name for name in self.means if name not in values}
        return {k: v for k, v in self.get_metrics_result().items() if k not in left_out}

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **options: Any,
    ) -> None:
        """As of any Keras model. A loss may be left out or be the sparse categorical cross-entropy, which it is."""
        if loss is not None and kind_of(loss) != "sparsecategoricalcrossentropy":
            raise UsageError(f"loss {loss!r} is not the objective's", "leave it out; labels are 0..K-1")
        # Weighted, so that rows without a label count nothing.
        both = [*listed(metrics), *listed(weighted_metrics)]
        super().compile(optimizer, weighted_metrics=both or None, **options)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as before it was saved; the optimiser has its state back."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(self, *args: Any, **options: Any) -> Any:
        """As of any Keras model; counts the steps."""
        bound = inspect.signature(super().fit).bind(*args, **options)
        given = bound.arguments.get("callbacks")
        if isinstance(given, keras.callbacks.CallbackList):
            given.append(Steps())
        else:
            bound.arguments["callbacks"] = [*listed(given), Steps()]
        return super().fit(*bound.args, **bound.kwargs)

    def plain(self) -> Any:
        """Inputs to probabilities as a functional model of Keras's own layers and the backbone's, sharing the weights:
        what it saves opens without crossgraft."""
        return plain(self)

    def get_config(self) -> dict[str, Any]:
        """What makes it again."""
        save = keras.saving.serialize_keras_object
        parts = {
            k: save(v) for k in ("backbone", "head", "augment", "lam", "rho") if (v := getattr(self, k)) is not None
        }
        plain = ("classes", "source_classes", "learn_statistics")
        return {**super().get_config(), **parts, **{k: _jsonable(getattr(self, k)) for k in plain}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> JointModel:
        """The model that `get_config` describes."""
        load = keras.saving.deserialize_keras_object
        return cls(**{k: load(v) if isinstance(v, Mapping) and "class_name" in v else v for k, v in config.items()})

    def _features(self, inputs: Any, training: bool | None) -> Float[Any, "B D"]:
        if self.augment is not None and training:
            inputs = self.augment(inputs, training=True)
        features = self.backbone(inputs, training=bool(training) and self.learn_statistics)
        if len(features.shape) == 4:
            last = keras.config.image_data_format() == "channels_last"
            features = ops.mean(features, axis=(1, 2) if last else (2, 3))
        return features

    def _logits(self, features: Float[Any, "B D"], training: bool | None) -> Float[Any, "B U"]:
        return ops.cast(self.head(features, training=training), "float32")

    def _values(self, y: Any, y_pred: Any) -> dict[str, Any]:
        if not isinstance(y_pred, Mapping):
            known, labels = labelled(y)
            p = ops.take_along_axis(ops.cast(y_pred, "float32"), labels[:, None], axis=1)[:, 0]
            return {"target": mean(-ops.log(ops.maximum(p, 1e-37)), known)}
        values = {d: cross_entropy(y_pred[d], y[d]) for d in ("target", "source") if d in y_pred}
        if self.domain is not None:
            values["domain"] = domain_cross_entropy(y_pred["on_source"], y_pred["on_target"])
        return values


def _of_domains(inputs: Any) -> bool:
    """Whether these are inputs by domain; a backbone may take a dict of its own."""
    return isinstance(inputs, Mapping) and "target" in inputs and set(inputs) <= {"target", "source", "unlabelled"}


def _at(weight: Weight, step: Any) -> Any:
    return weight(step) if callable(weight) else weight


def _jsonable(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
