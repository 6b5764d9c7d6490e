"""What crossgraft.keras gives on the backend of KERAS_BACKEND."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def gradients(f: Any, x: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
    """f of arrays and its gradient by each, on the backend that runs."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        v = [tf.Variable(a) for a in x]
        with tf.GradientTape() as tape:
            out = f(*v)
        found = tape.gradient(out, v)
    elif keras.backend.backend() == "jax":
        import jax

        out, found = jax.value_and_grad(f, argnums=tuple(range(len(x))))(*x)
    else:
        import torch

        v = [torch.tensor(a, requires_grad=True) for a in x]
        out = f(*v)
        found = torch.autograd.grad(out, v)
    return float(keras.ops.convert_to_numpy(out)), [np.asarray(keras.ops.convert_to_numpy(g)) for g in found]


def small(given: Any) -> Any:
    """A backbone with these weights, batch normalisation in it."""
    import keras

    net = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "tanh"), keras.layers.BatchNormalization()])
    net.layers[0].set_weights([given["w"], given["b"]])
    net.layers[1].set_weights([given[f"bn{i}"] for i in range(4)])
    return net


def main(source: Path, out: Path) -> None:
    import keras

    import crossgraft.keras as ck

    given = np.load(source)
    x_t, y_t, x_s, y_s = (given[k] for k in ("x_t", "y_t", "x_s", "y_s"))
    found: dict[str, Any] = {"backend": keras.backend.backend()}

    value, (g,) = gradients(lambda z: ck.cross_entropy(z, y_t), [given["logits"]])
    found |= {"ce": value, "ce_gradient": g}

    def domain(f_s: Any, f_t: Any, w: Any) -> Any:
        return ck.domain_cross_entropy(ck.reverse(f_s, ck.ramp(0.3)) @ w, ck.reverse(f_t, ck.ramp(0.3)) @ w)

    value, found["g_s"], found["g_t"], found["g_w"] = (
        lambda v, g: (v, *g)
    )(*gradients(domain, [given["f_s"], given["f_t"], given["w_d"]]))  # fmt: skip
    found["domain"] = value

    # Two steps of plain gradient descent by fit: of classes that the domains share in part, one label missing.
    model = ck.JointModel(small(given), ["a", "b"], ["b", "c", "a"], lam=0.5, rho=0.4)
    model.head.set_weights([given["w_h"], given["b_h"]])
    model.domain.set_weights([given[f"d{i}"] for i in range(6)])
    model.compile(keras.optimizers.SGD(0.1), metrics=["accuracy"])
    both = model.joined((x_t, y_t), (x_s, y_s), steps=2)
    history = model.fit(both, verbose=0).history
    found["history"] = np.array([history[k][-1] for k in ("loss", "target", "source", "domain", "accuracy")])
    found |= {f"after{i}": v for i, v in enumerate(model.backbone.get_weights())}
    found |= {f"after_h{i}": v for i, v in enumerate(model.head.get_weights())}
    found |= {f"after_d{i}": v for i, v in enumerate(model.domain.get_weights())}
    found["evaluated"] = np.array([v for _, v in sorted(model.evaluate(x_t, y_t, verbose=0, return_dict=True).items())])

    found["p"] = model.predict(x_s, verbose=0)
    model.save(out.with_name("joint.keras"))
    again = keras.saving.load_model(out.with_name("joint.keras"))
    found["p_again"] = again.predict(x_s, verbose=0)
    again.fit(again.joined((x_t, y_t), (x_s, y_s)), verbose=0)  # compiled as before
    plain = model.plain()
    plain.save(out.with_name("plain.keras"))
    found["p_plain"] = keras.saving.load_model(out.with_name("plain.keras")).predict(x_s, verbose=0)

    try:
        import tensorflow as tf
    except ImportError:
        pass
    else:
        few = tf.data.Dataset.from_tensor_slices((x_t, y_t)).batch(3)
        many = tf.data.Dataset.from_tensor_slices((x_s, y_s)).shuffle(9).batch(4)
        model = ck.JointModel(small(given), ["a", "b"], ["b", "c", "a"], lam=0.5, rho=0.4)
        model.compile("adam", metrics=["accuracy"])
        said = model.fit(model.joined(few, many), epochs=30, validation_data=few, verbose=0).history
        found["tf_data"] = np.array(said["target"])
        found["tf_validated"] = np.array(said["val_accuracy"])
    np.savez(out, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
