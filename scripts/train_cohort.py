"""Train the small models that weibnb ships: the demo's checkpoints and the fits of a cohort.

Byte-level decoders learn the source of the Python standard library, which every machine has.
Checkpoints on a rough logarithmic grid of steps are written as safetensors; those of the plain
layout are Llama's, which transformers' ``LlamaForCausalLM`` loads as they are.

    python scripts/train_cohort.py demo       # the packaged run, half an hour on two CPU cores
    python scripts/train_cohort.py cohort     # the grid of small runs, then their packaged fits
    python scripts/train_cohort.py cohort --large --device cuda --jobs 1
    python scripts/train_cohort.py pack       # the fits alone, of the runs that are complete
    python scripts/train_cohort.py record     # one run of it again, recorded at 60 steps

A run that was cut short goes on from its last saved state, and one that is complete is left out.
On a CPU, equal settings, corpus, torch version and kind of processor give equal weights, on one
thread or two; where other programs keep the cores busy, one is faster. The large half is defined
for one GPU and has not been run.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import platform
import sysconfig
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "weibnb" / "data"
VOCAB, NORM_EPS, ROPE_THETA, INIT_STD = 256, 1e-5, 10_000.0, 0.02
HELD_OUT_EVERY = 20  # of the sorted files, the 1st, the 21st, ... are held out
EVALUATION_WINDOWS, EVALUATION_BATCH = 512, 16
SAVE_EVERY = 500  # steps between two saved states
RECORDS = 60  # steps of the run that is recorded while it trains
HELD_OUT = "Loss on windows of held-out files"
# Parts of the standard library that differ between machines or that distributions leave out.
LEFT_OUT = {
    *("site-packages", "dist-packages", "test", "tests", "distutils", "ensurepip", "idlelib"),
    *("lib2to3", "tkinter", "turtledemo"),
}
LEFT_OUT_PREFIXES = ("_sysconfigdata", "config-", "sitecustomize")

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Run:
    """Everything that decides the weights, apart from the corpus and the machine."""

    width: int = 128
    layers: int = 3
    heads: int = 4
    kv_heads: int = 4
    ff: int = 344
    lr: float = 3e-3
    wd: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    steps: int = 7_000
    warmup: int = 100
    final_lr_fraction: float = 0.1
    batch: int = 8
    context: int = 256
    seed: int = 0
    attention: Literal["separate", "fused"] = "separate"  # fused: queries, keys, values as one
    mlp: Literal["gated", "gelu"] = "gated"
    init: Literal["normal", "uniform"] = "normal"  # both with standard deviation 0.02

    @property
    def storage(self) -> str:
        """How queries, keys and values are stored: separate, gqa or fused."""
        shared = self.attention == "separate" and self.kv_heads < self.heads
        return "gqa" if shared else self.attention

    def checkpoints(self) -> list[int]:
        """Return the steps that are written: a rough logarithmic grid and the last one."""
        return [step for step in (0, 100, 500, 2_000) if step < self.steps] + [self.steps]

    def learning_rate(self, step: int) -> float:
        """Return the rate of one step: linear warm-up, then a cosine down to a fraction."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        cosine = (1 + math.cos(math.pi * progress)) / 2
        return self.lr * (self.final_lr_fraction + (1 - self.final_lr_fraction) * cosine)


def variants(base: Run, rates: tuple[float, ...], decays: tuple[float, ...]) -> dict[str, Run]:
    """Return learning rate by weight decay around a base, then one change at a time."""
    wider = replace(base, width=base.width * 3 // 2, heads=base.heads * 3 // 2)
    wider = replace(wider, kv_heads=wider.heads, ff=base.ff // 43 * 64)
    grid = {f"lr{lr:g}-wd{wd:g}": replace(base, lr=lr, wd=wd) for wd in decays for lr in rates}
    return grid | {
        f"width{wider.width}": wider,
        "gqa": replace(base, kv_heads=base.heads // 2),
        "fused": replace(base, attention="fused"),
        "gelu": replace(base, mlp="gelu", ff=base.ff * 3 // 2),  # as many weights as gated
        "uniform": replace(base, init="uniform"),
        "no-decay": replace(base, wd=0.0),
        "seed1": replace(base, seed=1),
    }


# Rates and decays are such that most runs last several AdamW timescales, 1 / (lr · wd) steps.
SMALL = variants(
    Run(lr=4e-3, wd=0.5, steps=1_500, context=128), rates=(2e-3, 4e-3, 8e-3), decays=(0.5, 2.0)
)
_LARGE_BASE = Run(
    width=512,
    layers=8,
    heads=8,
    kv_heads=8,
    ff=1_376,
    lr=2e-3,
    wd=0.5,
    steps=5_000,
    warmup=500,
    batch=32,
    context=512,
)
LARGE = {
    f"large-{name}": run
    for name, run in variants(_LARGE_BASE, rates=(1e-3, 2e-3, 4e-3), decays=(0.5, 2.0)).items()
}
GRID: dict[str, Run] = {"demo": Run()} | SMALL | LARGE


@dataclass(frozen=True)
class Corpus:
    """Bytes to learn from, bytes held out (whole files), and what identifies them."""

    train: Tensor
    held_out: Tensor
    description: dict[str, str | int]


def read_corpus() -> Corpus:
    """Read the standard library's own modules, joined by NUL bytes, split by file."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = sorted(
        relative
        for path in root.rglob("*.py")
        if not LEFT_OUT.intersection((relative := path.relative_to(root)).parts)
        and not relative.parts[0].startswith(LEFT_OUT_PREFIXES)
    )
    texts = [(root / path).read_bytes() + b"\0" for path in paths]
    held_out = b"".join(texts[::HELD_OUT_EVERY])
    train = b"".join(text for i, text in enumerate(texts) if i % HELD_OUT_EVERY)
    return Corpus(
        train=torch.frombuffer(bytearray(train), dtype=torch.uint8),
        held_out=torch.frombuffer(bytearray(held_out), dtype=torch.uint8),
        description={
            "name": "Python standard library, *.py",
            "python_version": platform.python_version(),
            "files": len(texts),
            "held_out_files": len(texts[::HELD_OUT_EVERY]),
            "train_bytes": len(train),
            "held_out_bytes": len(held_out),
            "sha256": hashlib.sha256(b"".join(texts)).hexdigest(),
        },
    )


def initial_weights(run: Run) -> Weights:
    """Draw every matrix with standard deviation 0.02; norms are one.

    Names are those of ``LlamaForCausalLM``, of Phi-3 where queries, keys and values are fused,
    and of Nemotron where the feed-forward is not gated.
    """
    kv_width = run.width // run.heads * run.kv_heads
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, run.width)}
    for layer in range(run.layers):
        prefix = f"model.layers.{layer}"
        shapes[f"{prefix}.input_layernorm.weight"] = (run.width,)
        if run.attention == "fused":
            shapes[f"{prefix}.self_attn.qkv_proj.weight"] = (run.width + 2 * kv_width, run.width)
        else:
            shapes[f"{prefix}.self_attn.q_proj.weight"] = (run.width, run.width)
            shapes[f"{prefix}.self_attn.k_proj.weight"] = (kv_width, run.width)
            shapes[f"{prefix}.self_attn.v_proj.weight"] = (kv_width, run.width)
        shapes[f"{prefix}.self_attn.o_proj.weight"] = (run.width, run.width)
        shapes[f"{prefix}.post_attention_layernorm.weight"] = (run.width,)
        if run.mlp == "gated":
            shapes[f"{prefix}.mlp.gate_proj.weight"] = (run.ff, run.width)
        shapes[f"{prefix}.mlp.up_proj.weight"] = (run.ff, run.width)
        shapes[f"{prefix}.mlp.down_proj.weight"] = (run.width, run.ff)
    shapes["model.norm.weight"] = (run.width,)
    generator = torch.Generator().manual_seed(run.seed)

    def draw(shape: tuple[int, ...]) -> Tensor:
        if len(shape) == 1:
            return torch.ones(shape)
        if run.init == "uniform":
            return (torch.rand(shape, generator=generator) * 2 - 1) * (INIT_STD * math.sqrt(3))
        return torch.randn(shape, generator=generator) * INIT_STD

    return {name: draw(shape) for name, shape in shapes.items()}


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn pairs (i, i + half) of each head by their position's angle (RoPE)."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def logits(weights: Weights, tokens: Tensor, run: Run) -> Tensor:
    """Return next-byte logits, shape (batch, length, 256), of tokens of shape (batch, length)."""
    batch, length = tokens.shape
    head = run.width // run.heads
    kv_width = head * run.kv_heads
    frequencies = ROPE_THETA ** (-torch.arange(0, head, 2, device=tokens.device) / head)
    positions = torch.arange(length, device=tokens.device)
    angles = torch.outer(positions, frequencies).repeat(1, 2)
    cosine, sine = angles.cos(), angles.sin()

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.rms_norm(x, (run.width,), weights[f"{name}.weight"], NORM_EPS)

    def project(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, weights[f"{name}.weight"])

    def split_heads(x: Tensor) -> Tensor:
        return x.view(batch, length, -1, head).transpose(1, 2)

    x = functional.embedding(tokens, weights["model.embed_tokens.weight"])
    for layer in range(run.layers):
        attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
        h = norm(x, f"model.layers.{layer}.input_layernorm")
        if run.attention == "fused":
            joined = project(h, f"{attention}.qkv_proj")
            parts = torch.tensor_split(joined, (run.width, run.width + kv_width), dim=-1)
        else:
            parts = tuple(project(h, f"{attention}.{p}_proj") for p in "qkv")
        query, key, value = (split_heads(part) for part in parts)
        mixed = functional.scaled_dot_product_attention(
            rotate(query, cosine, sine),
            rotate(key, cosine, sine),
            value,
            is_causal=True,
            enable_gqa=run.kv_heads != run.heads,
        )
        x = x + project(mixed.transpose(1, 2).reshape(batch, length, -1), f"{attention}.o_proj")
        h = norm(x, f"model.layers.{layer}.post_attention_layernorm")
        if run.mlp == "gated":
            h = functional.silu(project(h, f"{mlp}.gate_proj")) * project(h, f"{mlp}.up_proj")
        else:
            h = functional.gelu(project(h, f"{mlp}.up_proj"))
        x = x + project(h, f"{mlp}.down_proj")
    return project(norm(x, "model.norm"), "model.embed_tokens")


def loss_at(weights: Weights, data: Tensor, starts: Tensor, run: Run) -> Tensor:
    """Return the mean loss, in nats per byte, on the windows that begin at `starts`."""
    offsets = torch.arange(run.context + 1)
    windows = data[starts[:, None] + offsets].long().to(weights["model.norm.weight"].device)
    predicted = logits(weights, windows[:, :-1], run)
    return functional.cross_entropy(predicted.flatten(0, 1), windows[:, 1:].flatten())


@torch.no_grad()
def evaluate(weights: Weights, data: Tensor, run: Run) -> float:
    """Return the loss, in nats per byte, on windows spread evenly over `data`."""
    limit = len(data) - run.context - 1
    starts = torch.arange(EVALUATION_WINDOWS) * limit // (EVALUATION_WINDOWS - 1)
    parts = starts.view(-1, EVALUATION_BATCH)
    return sum(loss_at(weights, data, part, run).item() for part in parts) / len(parts)


def write_json(path: Path, content: object) -> None:
    """Write JSON with a final newline."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_checkpoint(weights: Weights, run: Run, directory: Path) -> Weights:
    """Write bfloat16 weights and a transformers config; return what was written, in float32."""
    directory.mkdir(parents=True, exist_ok=True)
    rounded = {name: w.detach().to(torch.bfloat16) for name, w in weights.items()}
    save_file(rounded, directory / "model.safetensors", metadata={"format": "pt"})
    llama = run.attention == "separate" and run.mlp == "gated"
    config: dict[str, object] = {"architectures": ["LlamaForCausalLM"]} if llama else {}
    config |= {
        "model_type": "llama" if llama else "weibnb_cohort",
        "vocab_size": VOCAB,
        "hidden_size": run.width,
        "intermediate_size": run.ff,
        "num_hidden_layers": run.layers,
        "num_attention_heads": run.heads,
        "num_key_value_heads": run.kv_heads,
        "hidden_act": "silu" if run.mlp == "gated" else "gelu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": NORM_EPS,
        "rope_theta": ROPE_THETA,
        "max_position_embeddings": run.context,
        "tie_word_embeddings": True,
        "initializer_range": INIT_STD,
        "torch_dtype": "bfloat16",
    }
    write_json(directory / "config.json", config)
    return {name: w.float() for name, w in rounded.items()}


def write_description(run: Run, corpus: Corpus, directory: Path) -> None:
    """Write the settings that all checkpoints share, in the names of transformers' Trainer."""
    content = {
        "learning_rate": run.lr,
        "weight_decay": run.wd,
        "adam_beta1": run.beta1,
        "adam_beta2": run.beta2,
        "max_grad_norm": run.clip,
        "max_steps": run.steps,
        "warmup_steps": run.warmup,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": run.final_lr_fraction},
        "per_device_train_batch_size": run.batch,
        "context_length": run.context,
        "seed": run.seed,
        "optim": "adamw_torch",
        "torch_version": torch.__version__,
        "corpus": corpus.description,
        "run": asdict(run),
    }
    write_json(directory / "training_args.json", content)


class Trainer:
    """The state of one run: weights, AdamW moments, step, seconds and the losses so far."""

    def __init__(self, run: Run, work: Path | None, device: str) -> None:
        self.run, self.work, self.device = run, work, device
        drawn = initial_weights(run)
        self.weights: Weights = {n: torch.nn.Parameter(w.to(device)) for n, w in drawn.items()}
        matrices = [w for w in self.weights.values() if w.ndim == 2]
        vectors = [w for w in self.weights.values() if w.ndim == 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": run.wd}, {"params": vectors, "weight_decay": 0}],
            betas=(run.beta1, run.beta2),
            fused=True,
        )
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, float]] = []

    def advance(self, corpus: Corpus) -> float:
        """Make one optimiser step on a batch that depends on the seed and the step alone."""
        run = self.run
        generator = torch.Generator().manual_seed(run.seed * 1_000_003 + self.step)
        limit = len(corpus.train) - run.context
        starts = torch.randint(limit, (run.batch,), generator=generator)
        loss = loss_at(self.weights, corpus.train, starts, run)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), run.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = run.learning_rate(self.step)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def save(self) -> None:
        """Save the state, if there is a place for it, so that nothing but time is lost."""
        if self.work is None:
            return
        self.work.mkdir(parents=True, exist_ok=True)
        tensors = {f"weight/{name}": w.detach() for name, w in self.weights.items()}
        for name, w in self.weights.items():
            tensors |= {f"{key}/{name}": v for key, v in self.optimizer.state[w].items()}
        progress = {"step": self.step, "seconds": self.seconds, "history": self.history}
        metadata = {"run": json.dumps(asdict(self.run)), "progress": json.dumps(progress)}
        save_file(tensors, self.work / "state.partial", metadata=metadata)
        (self.work / "state.partial").replace(self.work / "state.safetensors")

    def restore(self) -> None:
        """Go on from a saved state, if there is one of the same settings."""
        if self.work is None or not (path := self.work / "state.safetensors").exists():
            return
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        if json.loads(metadata["run"]) != asdict(self.run):
            raise ValueError(f"{path} holds a run of other settings; choose another --work.")
        progress = json.loads(metadata["progress"])
        self.step, self.seconds = progress["step"], progress["seconds"]
        self.history = progress["history"]
        tensors = load_file(path)
        for name, w in self.weights.items():
            w.data.copy_(tensors[f"weight/{name}"])
            self.optimizer.state[w] = {
                key: tensors[f"{key}/{name}"].to(self.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }


def record(trainer: Trainer, corpus: Corpus, out: Path) -> None:
    """Write the checkpoint of the present step and its losses, measured on what is written."""
    run, step = trainer.run, trainer.step
    written = write_checkpoint(trainer.weights, run, out / f"step{step}")
    losses = {
        "step": step,
        "loss": round(evaluate(written, corpus.train, run), 4),
        "eval_loss": round(evaluate(written, corpus.held_out, run), 4),
    }
    trainer.history.append(losses)
    state = {"global_step": step, "max_steps": run.steps, "log_history": trainer.history}
    state |= {"seconds": round(trainer.seconds), "device": trainer.device}
    write_json(out / "trainer_state.json", state)
    print(losses, flush=True)


def train(run: Run, out: Path, work: Path | None, device: str = "cpu") -> None:
    """Train one run from its first or last saved step to its end, writing its checkpoints."""
    corpus, trainer = read_corpus(), Trainer(run, work, device)
    trainer.restore()
    out.mkdir(parents=True, exist_ok=True)
    write_description(run, corpus, out)
    print(f"{corpus.description}\n{sum(w.numel() for w in trainer.weights.values()):,} parameters")
    first, before, begun = trainer.step, trainer.seconds, time.perf_counter()
    recent: list[float] = []
    while True:
        if trainer.step in run.checkpoints():
            record(trainer, corpus, out)
        if trainer.step == run.steps:
            break
        recent.append(trainer.advance(corpus))
        elapsed = time.perf_counter() - begun
        trainer.seconds = before + elapsed
        if trainer.step % SAVE_EVERY == 0 or trainer.step == run.steps:
            trainer.save()
        if trainer.step % 50 == 0:
            pace = (trainer.step - first) / elapsed
            print(
                f"step {trainer.step}/{run.steps}  loss {sum(recent) / len(recent):.3f}  "
                f"{pace * run.batch * run.context:,.0f} tokens/s  "
                f"{(run.steps - trainer.step) / pace:.0f} s left",
                flush=True,
            )
            recent.clear()
    print(f"{trainer.seconds:.0f} s in all")


def is_complete(run: Run, directory: Path) -> bool:
    """Tell whether a directory holds all checkpoints of a run of these settings."""
    files = [directory / name for name in ("training_args.json", "trainer_state.json")]
    if not all(file.exists() for file in files):
        return False
    settings, state = (json.loads(file.read_text(encoding="utf-8")) for file in files)
    return bool(settings.get("run") == asdict(run) and state["global_step"] == run.steps)


def train_quietly(name: str, out: Path, work: Path, device: str) -> str:
    """Train one run of the grid on one thread, with its progress in a log file; return its name."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    with (work / "log.txt").open("a", encoding="utf-8", buffering=1) as log, redirect_stdout(log):
        train(GRID[name], out, work, device)
    return name


def train_cohort(names: list[str], out: Path, work: Path, jobs: int, device: str) -> None:
    """Train the runs that are not complete, several at a time, each in a process of its own."""
    todo = [name for name in names if not is_complete(GRID[name], out / name)]
    print(f"{len(names) - len(todo)} of {len(names)} runs are complete", flush=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        runs = [pool.submit(train_quietly, name, out / name, work / name, device) for name in todo]
        for done in as_completed(runs):
            print(f"{done.result()} is complete", flush=True)


def as_module(weights: Weights) -> torch.nn.Module:
    """Hang weights into a module by their names, for what takes modules."""
    root = torch.nn.Module()
    for name, weight in weights.items():
        *path, leaf = name.split(".")
        place = root
        for part in path:
            if part not in dict(place.named_children()):
                place.add_module(part, torch.nn.Module())
            place = place.get_submodule(part)
        setattr(place, leaf, weight)  # a Parameter: it is registered
    return root


def recorded_steps(run: Run) -> list[int]:
    """Return the steps of a dense record: those of the checkpoints, and a logarithmic grid."""
    for points in range(RECORDS, run.steps):
        ratio = run.steps ** (1 / (points - 1))
        steps = {round(ratio**i) for i in range(points)} | set(run.checkpoints())
        if len(steps) >= RECORDS:
            return sorted(steps)
    return list(range(run.steps + 1))


def train_recorded(name: str, target: Path) -> None:
    """Train one run of the grid once more, and write what a recorder saw, without the counts."""
    import weibnb as wb

    run, corpus = GRID[name], read_corpus()
    trainer, steps, losses = Trainer(run, None, "cpu"), recorded_steps(run), []
    model = as_module(trainer.weights)
    optimizer = trainer.optimizer
    with wb.Recorder(
        model, name=name, device="cpu", optimizer=optimizer, forces=True, keep_counts=False
    ) as recorder:
        while True:
            if trainer.step in steps:
                recorder.record(trainer.step)
                losses.append(round(evaluate(trainer.weights, corpus.held_out, run), 4))
                print(f"step {trainer.step}/{run.steps}  held-out loss {losses[-1]}", flush=True)
            if trainer.step == run.steps:
                break
            trainer.advance(corpus)
        fits = recorder.fits()
    described = {"long_name": HELD_OUT, "units": "nats per byte"}
    fits["eval_loss"] = (("model", "step"), [losses], described)
    target.parent.mkdir(parents=True, exist_ok=True)
    wb.save_fits(fits.assign_coords(settings_of([name])), target)
    print(f"{target}: {len(steps)} steps, {target.stat().st_size:,} bytes")


def settings_of(names: list[str]) -> dict[str, tuple[str, list[Any], dict[str, str]]]:
    """Return the settings of runs of the grid, as coords of their fits."""
    return {
        label: ("model", [getattr(GRID[name], field) for name in names], {"long_name": words})
        for label, field, words in (
            ("learning_rate", "lr", "Peak learning rate η"),
            ("weight_decay", "wd", "Weight decay, of matrices only"),
            ("steps", "steps", "Optimiser steps of the whole run"),
            ("batch", "batch", "Windows in a step"),
            ("context", "context", "Bytes in a window"),
            ("attention", "storage", "Queries, keys and values: separate, gqa or fused"),
            ("mlp", "mlp", "Feed-forward: gated (SiLU) or gelu"),
            ("init", "init", "Distribution of the first weights, standard deviation 0.02"),
            ("seed", "seed", "Seed of first weights and batches"),
        )
    }


def pack(names: list[str], out: Path, target: Path) -> None:
    """Scan the checkpoints of all complete runs and write their fits, settings and losses."""
    import weibnb as wb

    kept = [name for name in names if is_complete(GRID[name], out / name)]
    if missing := [name for name in names if name not in kept]:
        print(f"left out, not complete: {', '.join(missing)}")
    fits = wb.scan({name: out / name for name in kept}, progress=False)
    states = {
        name: json.loads((out / name / "trainer_state.json").read_text(encoding="utf-8"))
        for name in kept
    }
    for variable, key, words in (
        ("train_loss", "loss", "Loss on windows of the training text"),
        ("eval_loss", "eval_loss", HELD_OUT),
    ):
        known = [{e["step"]: e[key] for e in states[name]["log_history"]} for name in kept]
        table = [[losses.get(int(s), math.nan) for s in fits["step"].values] for losses in known]
        described = {"long_name": words, "units": "nats per byte"}
        fits[variable] = (("model", "step"), table, described)
    fits = fits.assign_coords(settings_of(kept))
    here = f"{out.resolve()}/"  # of the checkpoints, which are not shipped
    fits["source"] = fits["source"].copy(
        data=[[str(path).removeprefix(here) for path in row] for row in fits["source"].values]
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    wb.save_fits(fits, target)
    matrices = int((fits["status"] != "absent").sum())
    size = target.stat().st_size
    print(f"{target}: {matrices} matrices, {size:,} bytes, {size / matrices:,.0f} a matrix")
    print("| run | training loss | held-out loss | seconds |\n|---|---:|---:|---:|")
    for name in kept:
        last = states[name]["log_history"][-1]
        print(f"| {name} | {last['loss']} | {last['eval_loss']} | {states[name]['seconds']:,} |")


def main() -> None:
    """Read the command line; train the demo, or a half of the grid, or pack its fits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the run whose checkpoints are packaged")
    demo.add_argument("--out", type=Path, default=DATA / "demo")
    demo.add_argument("--work", type=Path, help="where the state is saved (default: nowhere)")
    demo.add_argument("--threads", type=int, default=2)
    cohort = commands.add_parser("cohort", help="train the grid, then pack")
    packing = commands.add_parser("pack", help="scan the complete runs of the grid")
    for command in (cohort, packing):
        command.add_argument("--out", type=Path, default=ROOT / "build" / "cohort")
        command.add_argument("--fits", type=Path, help="the file (default: in the package)")
        half = command.add_mutually_exclusive_group()
        half.add_argument("--small", action="store_const", dest="half", const="small")
        half.add_argument("--large", action="store_const", dest="half", const="large")
        command.set_defaults(half="small")
    cohort.add_argument("--work", type=Path, help="saved states and logs (default: under --out)")
    cohort.add_argument("--jobs", type=int, default=2)
    cohort.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    recording = commands.add_parser("record", help="train a run again, recorded as it goes")
    recording.add_argument("--run", default="lr0.004-wd0.5", choices=sorted(SMALL))
    recording.add_argument("--fits", type=Path, default=DATA / "cohort" / "stdlib-recorded.nc")
    given = parser.parse_args()
    if given.command == "record":
        torch.set_num_threads(1)
        train_recorded(given.run, given.fits)
        return
    if given.command == "demo":
        torch.set_num_threads(given.threads)
        train(GRID["demo"], given.out, given.work)
        return
    names = list(LARGE if given.half == "large" else SMALL)
    if given.command == "cohort":
        work = given.work or given.out / "work"
        train_cohort(names, given.out, work, given.jobs, given.device)
    file = "stdlib-large.nc" if given.half == "large" else "stdlib.nc"
    pack(names, given.out, given.fits or DATA / "cohort" / file)


if __name__ == "__main__":
    main()
