"""The door for Keras 3 on TensorFlow, JAX or torch: imports Keras, and registers what `.keras` files name.

>>> import crossgraft.keras
>>> crossgraft.keras.JointModel.__name__
'JointModel'
"""

from __future__ import annotations

from crossgraft.keras.joint import JointModel
from crossgraft.keras.pretrained import backbone
from crossgraft.keras.terms import cross_entropy, domain_cross_entropy, ramp, reverse

__all__ = ["JointModel", "backbone", "cross_entropy", "domain_cross_entropy", "ramp", "reverse"]
