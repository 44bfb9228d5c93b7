"""Adapters of PEFT: a model under low-rank factors, which are merged as it is read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.io.files import CheckpointError, read_json
from weibnb.io.links import contained
from weibnb.io.patterns import LONGEST_NAME, compiled_regex
from weibnb.io.safetensors import BITS, TensorInfo, read_only, word_type
from weibnb.io.small_floats import bfloat16_bits
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from weibnb.io.live import Reader
    from weibnb.io.safetensors import RawBits

#: What a directory holds that is an adapter.
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LARGEST_CONFIG = 10_000_000
_MERGE = "Merge it with PEFT, `model.merge_and_unload()`, and scan what that gives."
_FORMATS = ("BF16", "F16", "F32", "F64")
# Fields that do not change what is added to a weight, or are read here.
_FIELDS = frozenset(
    (
        *("peft_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"),
        *("task_type", "inference_mode", "r", "rank_pattern", "lora_alpha", "alpha_pattern"),
        *("use_rslora", "fan_in_fan_out", "init_lora_weights", "lora_dropout", "lora_bias", "bias"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        *("modules_to_save", "ensure_weight_tying", "qalora_group_size", "runtime_config"),
        *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "alora_config"),
        *("megatron_config", "megatron_core"),
    )
)
# Starting points that leave the base weights as they are; PiSSA, OLoRA and others change them.
_STARTS = (True, False, "gaussian", "eva", "orthogonal")
_FACTOR = re.compile(
    r"(?P<module>.+)\.lora_(?P<kind>embedding_)?(?P<side>[AB])(?P<bias>\.bias)?(\.weight)?"
)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter and the model that it was trained on, a source like any checkpoint.

    Parameters
    ----------
    path : path-like
        The directory that PEFT wrote: ``adapter_config.json``, ``adapter_model.safetensors``.
    base : path-like, torch.nn.Module or mapping
        The model, as `weibnb.open_checkpoint` takes it.

    Raises
    ------
    TypeError
        If the path is none.

    Notes
    -----
    The weights are W + s·B·A with s = alpha/r, or alpha/√r if ``use_rslora``, rounded to the
    format of the base as ``merge_and_unload`` does; factors are multiplied in float32. ``r`` and
    ``alpha`` of a module are those of ``rank_pattern`` and ``alpha_pattern`` where one fits.
    Tensors that the adapter holds whole (``modules_to_save``) take the place of the base's. Only
    LoRA is merged here, without DoRA or starting points that change the base.

    References
    ----------
    E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685.
    D. Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA",
    arXiv:2312.03732.

    Examples
    --------
    >>> Adapter("my-adapter", base="my-model").path
    'my-adapter'
    """

    path: Any
    base: Any

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, Path)):
            raise TypeError(f"`path` must be that of an adapter, got {type(self.path).__name__}.")


class AdapterWarning(UserWarning):
    """What is shown are base weights, though there is an adapter on them."""


def is_adapter(path: Path) -> bool:
    """Whether a directory is an adapter that PEFT wrote, without the weights of a model."""
    try:
        if not (path / CONFIG).is_file():
            return False
        return all(one.name.startswith("adapter_") for one in path.glob("*.safetensors"))
    except (OSError, ValueError):
        return False


def unmerged(source: Any, names: Iterable[str]) -> str:
    """Say what is shown of a live model, or of tensors by these names, that has an adapter."""
    named = getattr(source, "peft_config", None)
    low_rank = any(".lora_" in name for name in names)
    modules = getattr(source, "modules", list)
    if isinstance(named, dict) and callable(modules):
        if any(getattr(module, "merged", False) is True for module in modules()):
            return ""
        adapters = ", ".join(f"`{shortened(name)}`" for name in named)
        what = f"This is a PEFT model, and its base weights are shown, without {adapters}."
        return f"{what} Merge it first: model = model.merge_and_unload()."
    if not low_rank:
        return ""
    return (
        "Low-rank factors of an adapter lie beside the weights, and the base weights are shown "
        "without them. Merge them first with PEFT: model = model.merge_and_unload()."
    )


def refuse_without_base(path: Path) -> None:
    """Raise CheckpointError if this is an adapter, which alone has no weights to fit."""
    if not is_adapter(path):
        return
    try:
        name = read_json(path / CONFIG, limit=_LARGEST_CONFIG).get("base_model_name_or_path")
    except CheckpointError:
        name = None
    of = f" of {shortened(name, 200)}" if isinstance(name, str) and name else ""
    step = (
        "Pass the folder of its base: weibnb.scan(path, base=folder), in a shell --base; where "
        "weights are read again, source=weibnb.Adapter(path, base=folder)."
    )
    raise CheckpointError(path, f"this is an adapter{of}, not a model", step)


@dataclass(frozen=True, slots=True)
class _Config:
    """What adapter_config.json says of the factors."""

    path: Path
    alpha: float
    rank: int
    rslora: bool
    transposed: bool
    alphas: tuple[tuple[re.Pattern[str], float], ...]
    ranks: tuple[tuple[re.Pattern[str], float], ...]

    def scale(self, module: str, rank: int) -> float:
        """Factor of B·A of a module, whose factors have this rank."""
        expected = next((r for p, r in self.ranks if p.fullmatch(module)), self.rank)
        if rank != expected:
            cause = f"the factors of `{shortened(module, 200)}` have rank {rank}"
            step = "Save the adapter again."
            raise CheckpointError(self.path, f"{cause}, {CONFIG} says {expected:g}", step)
        alpha = next((a for p, a in self.alphas if p.fullmatch(module)), self.alpha)
        return alpha / (math.sqrt(rank) if self.rslora else rank)


def merged(
    path: Path,
    base: Mapping[str, tuple[TensorInfo, Reader]],
    adapter: Mapping[str, tuple[TensorInfo, Reader]],
) -> dict[str, tuple[TensorInfo, Reader]]:
    """Put an adapter on the tensors of its base: what it changes is merged as it is read.

    Raises
    ------
    CheckpointError
        If it is of a kind that is not merged here, or does not fit the base.
    """
    config = _read_config(path)
    factors: dict[str, dict[str, tuple[TensorInfo, Reader]]] = {}
    found = dict(base)
    at = _Places(path, base)
    for name, tensor in adapter.items():
        plain = name.removeprefix("base_model.").removeprefix("model.")
        match = _FACTOR.fullmatch(plain)
        if match is None and "lora_" not in plain:
            plain = plain.replace(".base_layer.", ".")
            whole = at.find(plain) or plain
            found[whole] = (_renamed(tensor[0], whole), tensor[1])
        elif match is None:
            raise CheckpointError(path, "it is no factor that is merged here", _MERGE, name)
        elif not match["bias"]:
            kind = "embedding" if match["kind"] else "linear"
            factors.setdefault(match["module"], {})[f"{kind} {match['side']}"] = tensor
    if not factors and len(found) == len(base):
        raise CheckpointError(path, "it holds no low-rank factors", "Save the adapter again.")
    for module, sides in factors.items():
        if len(module) > LONGEST_NAME:
            cause = f"the name of a module is longer than {LONGEST_NAME} characters"
            raise CheckpointError(path, cause, "Do not trust this adapter.", module)
        place = at.find(f"{module}.weight")
        if place is None:
            cause = f"the base has no weight of `{shortened(module, 200)}`"
            raise CheckpointError(path, cause, "Pass the base that it was trained on.")
        found[place] = (found[place][0], _reader(config, module, found[place], sides))
    return found


def _renamed(info: TensorInfo, name: str) -> TensorInfo:
    """Give a tensor the name that the base has for it."""
    return TensorInfo(name, info.dtype, info.shape, info.nbytes)


class _Places:
    """Finds what an adapter calls a tensor in the base, whose names may have other beginnings."""

    def __init__(self, path: Path, names: Mapping[str, Any]) -> None:
        self._path = path
        self._names = names
        self._ends: dict[str, list[str]] = {}
        for name in names:
            for tail in _tails(name):
                self._ends.setdefault(tail, []).append(name)

    def find(self, name: str) -> str | None:
        """Give the one tensor that is meant, None if there is none."""
        for tail in (name, *_tails(name)):
            if tail in self._names:
                return tail
        found = self._ends.get(name, [])
        if len(found) > 1:
            cause = f"`{shortened(found[0], 200)}` and `{shortened(found[1], 200)}` may be meant"
            raise CheckpointError(self._path, cause, "Pass the base it was trained on.", name)
        return found[0] if found else None


def _tails(name: str) -> list[str]:
    """Give a name without its first word, and without its first two (``model.language_model``)."""
    words = name.split(".")
    return [".".join(words[i:]) for i in (1, 2) if len(words) > i + 1]


def _read_config(path: Path) -> _Config:
    """Read how the factors are scaled; refuse what is not LoRA as it was published."""
    file = contained(path, CONFIG)
    config = read_json(file, limit=_LARGEST_CONFIG)
    if config.get("peft_type") != "LORA":
        cause = f"its peft_type is {shortened(config.get('peft_type'))}, not LORA"
        raise CheckpointError(file, cause, _MERGE)
    strange = sorted(name for name, value in config.items() if value and name not in _FIELDS)
    if strange:
        raise CheckpointError(file, f"it sets `{shortened(strange[0])}`", _MERGE)
    start = config.get("init_lora_weights", True)
    if start not in _STARTS:
        cause = f"it starts from {shortened(start)}, which changes the base weights"
        raise CheckpointError(file, cause, _MERGE)
    rank, alpha = (_number(file, config, name, 8) for name in ("r", "lora_alpha"))
    return _Config(
        path=file,
        alpha=alpha,
        rank=int(rank),
        rslora=config.get("use_rslora") is True,
        transposed=config.get("fan_in_fan_out") is True,
        alphas=_by_module(file, config, "alpha_pattern"),
        ranks=_by_module(file, config, "rank_pattern"),
    )


def _number(file: Path, config: Mapping[str, Any], name: str, default: float) -> float:
    """Read a number above 0."""
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
        cause = f"`{shortened(name)}` must be a number above 0, got {shortened(repr(value))}"
        raise CheckpointError(file, cause, "Save the adapter again.")
    return float(value)


def _by_module(
    file: Path, config: Mapping[str, Any], name: str
) -> tuple[tuple[re.Pattern[str], float], ...]:
    """Read numbers of modules whose names end in a pattern, as `peft.utils.get_pattern_key`."""
    given = config.get(name) or {}
    if not isinstance(given, dict):
        cause = f"`{name}` must map modules to numbers, got {shortened(repr(given))}"
        raise CheckpointError(file, cause, "Save the adapter again.")
    found = []
    for key in given:
        try:
            pattern = compiled_regex(rf"(?:.*\.)?(?:{key})")
        except ValueError as err:
            cause = f"the pattern {shortened(key)!r} in `{name}` is not taken: {err}"
            raise CheckpointError(file, cause, _MERGE) from err
        found.append((pattern, _number(file, given, key, 0)))
    return tuple(found)


def _reader(
    config: _Config,
    module: str,
    base: tuple[TensorInfo, Reader],
    sides: Mapping[str, tuple[TensorInfo, Reader]],
) -> Reader:
    """Give what reads a weight with its factors merged in."""
    info = base[0]
    kind = "embedding" if "embedding A" in sides else "linear"
    a, b = sides.get(f"{kind} A"), sides.get(f"{kind} B")
    if a is None or b is None or len(sides) != 2:
        cause = f"`{shortened(module, 200)}` has not one factor A and one factor B"
        raise CheckpointError(config.path, cause, "Save the adapter again.")
    shapes = a[0].shape, b[0].shape
    if len(info.shape) != 2 or any(len(shape) != 2 for shape in shapes):
        raise CheckpointError(config.path, f"`{shortened(module, 200)}` is no matrix", _MERGE)
    (rank, cols), (rows, other) = shapes
    flip = info.shape != (rows, cols) or (rows == cols and config.transposed)
    flip = flip or kind == "embedding"
    if rank != other or info.shape != ((cols, rows) if flip else (rows, cols)):
        cause = f"factors of {shapes[1]} and {shapes[0]} do not make `{module}` of {info.shape}"
        raise CheckpointError(config.path, cause, "Pass the base that it was trained on.")
    if info.dtype not in _FORMATS or {a[0].dtype, b[0].dtype} - set(_FORMATS):
        cause = f"`{shortened(module, 200)}` is stored as {info.dtype}, its factors as {a[0].dtype}"
        raise CheckpointError(config.path, cause, _MERGE)
    problem = next((one for _, one in (base, a, b) if isinstance(one, str)), None)
    if problem is not None:
        return problem
    return partial(_merge, base, a, b, config.scale(module, rank), flip=flip)


def _merge(
    base: tuple[TensorInfo, Any],
    a: tuple[TensorInfo, Any],
    b: tuple[TensorInfo, Any],
    scale: float,
    *,
    flip: bool,
) -> RawBits:
    """Read a weight and its factors, and give the bits of what they make."""
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the scan
        delta = (_values(*b) @ _values(*a)) * np.float32(scale)
        weights = _values(*base) + (delta.T if flip else delta)
        return read_only(_bits(weights, base[0].dtype).reshape(-1))


def _values(info: TensorInfo, read: Any) -> NDArray[Any]:
    """Read a tensor as float32, or float64 if it is stored so."""
    bits = read()
    if info.dtype == "BF16":
        values = (bits.astype(np.uint32) << 16).view(np.float32)
    else:
        values = bits.view(f"<f{BITS[info.dtype] // 8}")
    kind = np.float64 if info.dtype == "F64" else np.float32
    return np.asarray(values.astype(kind, copy=False).reshape(info.shape))


def _bits(values: NDArray[Any], dtype: str) -> RawBits:
    """Round numbers to a format, to nearest even; give their bits."""
    if dtype != "BF16":
        return np.ascontiguousarray(values, f"<f{BITS[dtype] // 8}").view(word_type(dtype))
    return bfloat16_bits(values)
