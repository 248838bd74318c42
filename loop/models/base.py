"""The frozen base model, with all of its weights: transformers would make up those that its files leave out."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from loop.models.folders import readable
from loop.models.quiet import quiet


def load_base(folder: Path, dtype: torch.dtype, **how: object) -> PreTrainedModel:
    """The causal language model of a folder in `dtype`, its safetensors only; `how` is for transformers.

    Raises UsageError where it is damaged, no model, or has weights that are missing or do not fit its config.json.
    """
    with quiet(), readable(folder):
        model: PreTrainedModel
        model, told = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **how,
        )
        misfits = sorted({*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])})
        if misfits:
            raise ValueError(f"{len(misfits)} of its weights are missing or do not fit its config.json: {misfits[0]}")
    return model
