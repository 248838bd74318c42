"""LoRA adapter of a candidate: it begins fresh or as the champion's, and is saved so that stock peft loads it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.utils import is_bitsandbytes_available

from loop import files
from loop.errors import TrainingError
from loop.hashing import ADAPTER_FILES, sha256_of_all
from loop.models import load_base
from loop.models.quiet import quiet
from loop.training import ranks
from loop.training.weights.activations import layers
from loop.training.weights.lora import fuse

CONFIG = "adapter_config.json"


def load(
    base: Path,
    parent: Path | None,
    *,
    rank: int,
    seed: int,
    dtype: torch.dtype,
    device: str,
    sharded: bool = False,
    quantized: bool = False,
) -> PeftModel:
    """The frozen base model in `dtype` under a float32 adapter: that of `parent`, or a fresh one (B = 0) without it.

    Raises TrainingError when the champion's adapter has another rank or scale than `rank` asks for, when `quantized`
    lacks bitsandbytes or goes with `sharded`; UsageError when the base cannot be read.
    """
    if sharded and quantized:
        raise TrainingError(
            "`shard` and `quantize` under [training] do not go together",
            "set one of them: four bits take a quarter of the memory in every process, sharding its part of it",
        )
    # Left out where nothing is quantized: a None would hide the four bits that a base's own files may be in.
    how = {"quantization_config": _four_bits(dtype)} if quantized else {}
    with quiet():
        # Sharded weights go to the GPUs layer by layer: whole they may fit into none of them.
        model = load_base(base, dtype, device_map="cpu" if sharded else device, **how)
        if quantized:
            _keep_trainable(model)
        if parent is None:
            adapted = begin(model, rank=rank, seed=seed)
        else:
            _check_same_shape(parent, rank)
            # With low_cpu_mem_usage peft does not initialise the adapter before it reads it.
            adapted = PeftModel.from_pretrained(model, parent, is_trainable=True, low_cpu_mem_usage=True)
            fuse(adapted)
    return _shard(adapted, device) if sharded else adapted


def begin(model: PreTrainedModel, *, rank: int, seed: int) -> PeftModel:
    """`model` under a fresh adapter, the same for the same seed."""
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        adapted = get_peft_model(model, _fresh(rank))
    fuse(adapted)
    return adapted


def _four_bits(dtype: torch.dtype) -> BitsAndBytesConfig:
    """Quantisation of QLoRA: NF4 with double quantisation (Dettmers et al. 2023, arXiv 2305.14314)."""
    if not is_bitsandbytes_available():
        raise TrainingError("`quantize` under [training] needs bitsandbytes", "pip install 'nightshift-loop[qlora]'")
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _keep_trainable(model: nn.Module) -> None:
    """Mark the four-bit layers of `model` as in training."""
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            # Else bitsandbytes packs them for inference on CPUs with AVX-512, and no gradient goes through.
            module.training = True


def _shard(model: PeftModel, device: str) -> PeftModel:
    """`model` with the frozen weights of each layer divided over the processes (FSDP2), gathered while it computes."""
    mesh = init_device_mesh(device, (ranks.count(),))
    own = set(trainable(model).values())
    for layer in layers(model):
        # Each layer is an FSDP root of its own, and a root stays whole after its forward unless told otherwise.
        fully_shard(layer, mesh=mesh, ignored_params=own, reshard_after_forward=True)
    return model.to(device)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's parameters by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def put(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Set the adapter's parameters to `weights`, which are named as in `trainable`."""
    for name, parameter in trainable(model).items():
        parameter.copy_(weights[name])


def weights_sha256(model: nn.Module) -> str:
    """sha256 over the adapter's parameters as they are now."""
    return sha256_of_all(_parts(model))


def _parts(model: nn.Module) -> Iterator[str | bytes]:
    for name, parameter in sorted(trainable(model).items()):
        yield name
        yield parameter.detach().cpu().contiguous().numpy().tobytes()


def save(model: PeftModel, folder: Path) -> None:
    """Write the adapter's two files into `folder`, each whole or not at all; equal adapters have equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    building = folder / ".adapter"
    shutil.rmtree(building, ignore_errors=True)
    with quiet():
        model.save_pretrained(str(building), save_embedding_layers=False)
    config = json.loads((building / CONFIG).read_text())
    # peft keeps a set here, whose order changes from process to process.
    config["target_modules"] = sorted(config["target_modules"])
    # The path of the base model on this machine would make equal adapters unequal.
    config["base_model_name_or_path"] = None
    (building / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for name in ADAPTER_FILES:
        files.place(building / name, folder / name)
    shutil.rmtree(building)


def _fresh(rank: int) -> LoraConfig:
    # No dropout: policy and reference have to be the same function before the first step.
    return LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def _check_same_shape(parent: Path, rank: int) -> None:
    """Raises TrainingError when the champion's adapter has another rank or scale than a fresh one of `rank`."""
    config = PeftConfig.from_pretrained(parent)
    if (config.r, config.lora_alpha) != (rank, 2 * rank):
        raise TrainingError(
            f"the champion's adapter has rank {config.r} and alpha {config.lora_alpha}, the settings say rank {rank}",
            f"set `rank` under [training] to {config.r}, or roll back to the base model to begin anew",
        )
