"""The door for transformers: importing it makes `pipeline`, `AutoModel...` and `AutoTokenizer` open exported runs.

`crossgraft export RUN --format transformers` writes a folder; then, with nothing of the folder executed::

    import crossgraft.transformers
    from transformers import pipeline
    pipeline("text-classification", "RUN/model.transformers", top_k=None)(["it is good"])

>>> import crossgraft.transformers
>>> from transformers import AutoConfig
>>> AutoConfig.for_model("crossgraft", pooling="cls").pooling
'cls'
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from crossgraft.transformers.models import (
    CrossgraftConfig,
    CrossgraftForSequenceClassification,
    CrossgraftForTokenClassification,
)
from crossgraft.transformers.tokenizer import CrossgraftTokenizer

__all__ = [
    "CrossgraftConfig",
    "CrossgraftForSequenceClassification",
    "CrossgraftForTokenClassification",
    "CrossgraftTokenizer",
]

AutoConfig.register(CrossgraftConfig.model_type, CrossgraftConfig, exist_ok=True)
AutoTokenizer.register(CrossgraftConfig, fast_tokenizer_class=CrossgraftTokenizer, exist_ok=True)
AutoModelForSequenceClassification.register(CrossgraftConfig, CrossgraftForSequenceClassification, exist_ok=True)
AutoModelForTokenClassification.register(CrossgraftConfig, CrossgraftForTokenClassification, exist_ok=True)
