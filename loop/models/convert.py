"""Conversion of a GGUF file into a model folder that can be trained: bfloat16 safetensors and the tokenizer."""

import io
from contextlib import redirect_stderr
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from loop.models.quiet import quiet
from loop.models.reading import readable, require_fitting


def convert_gguf(file: Path, folder: Path) -> None:
    """Write `folder` from a GGUF file (20 to 60 s for 135 M parameters).

    Raises UsageError where the file is damaged or no model.
    """
    with quiet(), redirect_stderr(io.StringIO()):  # the GGUF reader's progress bar cannot be turned off
        with readable(file):
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
            read, told = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.bfloat16, output_loading_info=True
            )
            require_fitting(read, told)
        # transformers marks a model read from GGUF as quantised and refuses to save it, so its weights move into a
        # model built from the configuration alone.
        del read.config.quantization_config
        model = AutoModelForCausalLM.from_config(read.config, dtype=torch.bfloat16)
        model.load_state_dict(read.state_dict())
        model.generation_config = read.generation_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
