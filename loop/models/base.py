"""The frozen base model, loaded with exactly the weights of its folder."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import ADAPTER_CONFIG_NAME

from loop.errors import UsageError
from loop.models.quiet import quiet
from loop.models.reading import readable, require_fitting


def load_base(folder: Path, dtype: torch.dtype, **how: object) -> PreTrainedModel:
    """The causal language model of a folder in `dtype`, from safetensors only; `how` is passed to transformers.

    Raises UsageError where the folder is damaged or no model, where weights are missing, too many or do not fit its
    config.json, and where it holds an adapter.
    """
    # transformers would look for the adapter's own base model and load that one.
    if (folder / ADAPTER_CONFIG_NAME).exists():
        raise UsageError(
            f"{folder} holds an adapter, not a base model alone: it has an {ADAPTER_CONFIG_NAME}",
            "set model.base to the adapter's base, or to both merged (peft: merge_and_unload, then save_pretrained)",
        )
    with quiet(), readable(folder):
        model: PreTrainedModel
        model, told = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            # Mismatches are reported in `told`, beside missing weights, and refused below with our own words.
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **how,
        )
        require_fitting(model, told)
    return model
