"""Train the small model whose checkpoints `weibnb demo` shows.

A byte-level Llama of 0.63 M parameters learns the source of the Python standard library, which
every machine has, in about half an hour on two CPU cores. Checkpoints on a rough logarithmic grid
of steps are written as safetensors that transformers' ``LlamaForCausalLM`` loads as they are.

    python scripts/train_demo.py                       # the packaged run
    python scripts/train_demo.py --out run --wd 0 --seed 1

A run that was cut short goes on from its last saved state when ``--work`` names its directory.
Equal settings, corpus, torch version and kind of processor give equal weights, on one thread or
two; where other programs keep the cores busy, one is faster.
"""

import argparse
import hashlib
import json
import math
import platform
import sysconfig
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

ROOT = Path(__file__).resolve().parents[1]
VOCAB, NORM_EPS, ROPE_THETA, INIT_STD = 256, 1e-5, 10_000.0, 0.02
HELD_OUT_EVERY = 20  # of the sorted files, the 1st, the 21st, ... are held out
EVALUATION_WINDOWS, EVALUATION_BATCH = 512, 16
SAVE_EVERY = 500  # steps between two saved states
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
    """Draw every matrix from N(0, 0.02²), named as in ``LlamaForCausalLM``; norms are one."""
    kv_width = run.width // run.heads * run.kv_heads
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCAB, run.width)}
    for layer in range(run.layers):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.input_layernorm.weight": (run.width,),
            f"{prefix}.self_attn.q_proj.weight": (run.width, run.width),
            f"{prefix}.self_attn.k_proj.weight": (kv_width, run.width),
            f"{prefix}.self_attn.v_proj.weight": (kv_width, run.width),
            f"{prefix}.self_attn.o_proj.weight": (run.width, run.width),
            f"{prefix}.post_attention_layernorm.weight": (run.width,),
            f"{prefix}.mlp.gate_proj.weight": (run.ff, run.width),
            f"{prefix}.mlp.up_proj.weight": (run.ff, run.width),
            f"{prefix}.mlp.down_proj.weight": (run.width, run.ff),
        }
    shapes["model.norm.weight"] = (run.width,)
    generator = torch.Generator().manual_seed(run.seed)
    return {
        name: torch.ones(shape)
        if len(shape) == 1
        else torch.randn(shape, generator=generator) * INIT_STD
        for name, shape in shapes.items()
    }


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn pairs (i, i + half) of each head by their position's angle (RoPE)."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def logits(weights: Weights, tokens: Tensor, run: Run) -> Tensor:
    """Return next-byte logits, shape (batch, length, 256), of tokens of shape (batch, length)."""
    batch, length = tokens.shape
    head = run.width // run.heads
    frequencies = ROPE_THETA ** (-torch.arange(0, head, 2) / head)
    angles = torch.outer(torch.arange(length), frequencies).repeat(1, 2)
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
        query, key, value = (split_heads(project(h, f"{attention}.{p}_proj")) for p in "qkv")
        mixed = functional.scaled_dot_product_attention(
            rotate(query, cosine, sine),
            rotate(key, cosine, sine),
            value,
            is_causal=True,
            enable_gqa=run.kv_heads != run.heads,
        )
        x = x + project(mixed.transpose(1, 2).reshape(batch, length, -1), f"{attention}.o_proj")
        h = norm(x, f"model.layers.{layer}.post_attention_layernorm")
        gated = functional.silu(project(h, f"{mlp}.gate_proj")) * project(h, f"{mlp}.up_proj")
        x = x + project(gated, f"{mlp}.down_proj")
    return project(norm(x, "model.norm"), "model.embed_tokens")


def loss_at(weights: Weights, data: Tensor, starts: Tensor, run: Run) -> Tensor:
    """Return the mean loss, in nats per byte, on the windows that begin at `starts`."""
    windows = data[starts[:, None] + torch.arange(run.context + 1)].long()
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
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCAB,
        "hidden_size": run.width,
        "intermediate_size": run.ff,
        "num_hidden_layers": run.layers,
        "num_attention_heads": run.heads,
        "num_key_value_heads": run.kv_heads,
        "hidden_act": "silu",
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
    }
    write_json(directory / "training_args.json", content)


class Trainer:
    """The state of one run: weights, AdamW moments, step, seconds and the losses so far."""

    def __init__(self, run: Run, work: Path | None) -> None:
        self.run, self.work = run, work
        self.weights = {name: w.requires_grad_() for name, w in initial_weights(run).items()}
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
        loss.backward()  # type: ignore[no-untyped-call]
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
                key: tensors[f"{key}/{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
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
    write_json(out / "trainer_state.json", state)
    print(losses, flush=True)


def train(run: Run, out: Path, work: Path | None) -> None:
    """Train one run from its first or last saved step to its end, writing its checkpoints."""
    corpus, trainer = read_corpus(), Trainer(run, work)
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


def main() -> None:
    """Read the command line and train; the defaults are those of the packaged checkpoints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for field in fields(Run):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default
        )
    parser.add_argument("--out", type=Path, default=ROOT / "weibnb" / "data" / "demo")
    parser.add_argument("--work", type=Path, help="where the state is saved (default: nowhere)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    run = Run(**{field.name: getattr(arguments, field.name) for field in fields(Run)})
    train(run, arguments.out, arguments.work)


if __name__ == "__main__":
    main()
