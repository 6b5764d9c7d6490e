"""Low-rank adapters beside frozen matrices (LoRA, Hu et al., ICLR 2022), by peft; merged when they have learned."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import torch
from torch import nn

from crossgraft.errors import CrossgraftError, UsageError

RANK, ALPHA = 8, 16


def add(module: nn.Module, seed: int) -> None:
    """Adapters beside all linear layers, in place; nothing but them learns from here on. They begin at zero.

    Raises UsageError where there is no linear layer, CrossgraftError where peft is not installed.
    """
    if find_spec("peft") is None:
        raise CrossgraftError("schedule lora needs peft", "pip install crossgraft[lora]")
    linear = [name for name, layer in module.named_modules() if type(layer) is nn.Linear or _transposed(layer)]
    if not linear:
        raise UsageError("schedule lora needs linear layers, and this backbone has none", "use lp_ft or full")
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=linear)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # peft finds out by itself, layer by layer
        torch.manual_seed(seed)
        inject_adapter_in_model(config, module)


def _transposed(layer: nn.Module) -> bool:
    """Whether this is GPT-2's linear layer, which transformers calls a convolution."""
    return type(layer).__name__ == "Conv1D" and type(layer).__module__ == "transformers.pytorch_utils"


def learned(name: str, adapted: bool) -> bool:
    """Whether a parameter of this name may learn: with adapters in a module, they alone."""
    return not adapted or ".lora_" in name


def merge(module: nn.Module) -> None:
    """Adapters into the matrices beside which they stand; the module is as it was but for its weights."""
    from peft.tuners.lora import LoraLayer

    for name, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(parent), leaf, layer.get_base_layer())
    module.__dict__.pop("peft_config", None)  # by which peft would take the next ones for second ones
    module.requires_grad_(True)
