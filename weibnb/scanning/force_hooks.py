"""The forces of AdamW on every weight matrix, summed step by step while a model trains."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from weibnb.compiled import compiled_sums
from weibnb.fits.schema import FORCES
from weibnb.io.safetensors import CheckpointError
from weibnb.io.sources import Planned
from weibnb.parallel import on_threads, usable_cores
from weibnb.scanning.matrices import list_matrices

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import NDArray

    from weibnb.scanning.matrices import Cell
    from weibnb.scanning.weight_tensors import Fused, WeightTensor

    Array = NDArray[np.float64]

# Weights of a step from which on several threads sum them.
_ON_THREADS = 1 << 21


class _Part(NamedTuple):
    """A weight matrix in a parameter, and its row in the sums."""

    row: int
    tensor: WeightTensor
    expert: int

    def of(self, whole: torch.Tensor) -> torch.Tensor:
        """Give the matrix in a parameter, or in a state of the same shape."""
        found: torch.Tensor = self.tensor.one_expert(whole.detach(), self.expert)
        return found


class _Rule(NamedTuple):
    """How one step of AdamW changes a parameter: numbers, or tensors on its device."""

    rate: Any
    lost: Any  # share that the decay takes, as the optimiser rounds it: ηλ
    mean_scale: Any  # of the first moment, against its bias
    root_scale: Any  # of the second moment's root
    eps: float
    times: Any  # steps that this one stands for; 0 if it was skipped


class Forces:
    """Sums, over every step of an AdamW, of what moves the norm of each weight matrix.

    Parameters
    ----------
    optimizer : torch.optim.AdamW
        Default, foreach, fused or capturable, with any groups of parameters; also
        ``torch.optim.Adam`` with ``decoupled_weight_decay=True``.
    model : torch.nn.Module
        Whose weight matrices are looked at. Frozen ones are not moved by any force.
    fused : {"keep", "split", "both"}
        As in `weibnb.scan`.
    every : int
        Only each so manieth step is looked at, and stands for those before it.

    Raises
    ------
    TypeError
        If the optimiser is another one, or a parameter is spread over processes.
    ValueError
        If `every` is less than 1, or the optimiser holds no weight matrix of the model.
    CheckpointError
        If the model cannot be read.

    Notes
    -----
    With u = m̂/(√v̂ + ε) the update, W the weights *before* the step, η the rate and λ the weight
    decay, a step makes W' = (1 - ηλ)W - ηu, and adds to `FORCES`

    - alignment A = 2η⟨W, u⟩,
    - injection J = η²‖u‖²,
    - decay D = 2ηλ‖W‖²,
    - second order R = (ηλ)²‖W‖² + 2η²λ⟨W, u⟩,

    so that ‖W'‖² - ‖W‖² = -A + J - D + R exactly; with W after the step it would be off by 2J.
    u follows from the moments after the step, and W from W' and u; of formats of 16 bits, whose
    rounding is no part of the update, W is copied before each step. 1 - ηλ is taken as the
    optimiser rounds it, to float32. Sums are kept in float64.

    References
    ----------
    T. Ding, "Weibull Weight-Scale Parameter Evolution under AdamW Training Dynamics",
    arXiv:2606.19367.

    Examples
    --------
    >>> import torch
    >>> model = torch.nn.TransformerEncoderLayer(64, 4, batch_first=True)
    >>> model = torch.nn.TransformerEncoder(model, 1)
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    >>> with Forces(optimizer, model) as forces:
    ...     start = forces.at(0)[0, "up_proj", -1]
    ...     model(torch.randn(2, 8, 64)).square().sum().backward()
    ...     optimizer.step()
    ...     end = forces.at(1)[0, "up_proj", -1]
    >>> alignment, injection, decay, rest, square = end - start
    >>> bool(abs(square - (-alignment + injection - decay + rest)) < 1e-6 * start[-1])
    True
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: torch.nn.Module,
        *,
        fused: Fused = "keep",
        every: int = 1,
    ) -> None:
        _check_optimizer(optimizer)
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"`every` must be an integer of at least 1, got {every!r}.")
        self._every, self._steps, self._looked_at = every, 0, False
        self._cells: list[Cell] = []
        self._parts: dict[torch.Tensor, list[_Part]] = {}
        self._find(model, fused)
        held = {p for group in optimizer.param_groups for p in group["params"]}
        if not held & set(self._parts):
            raise ValueError(
                "`optimizer` must hold weight matrices of the model, got one that holds none. "
                "Make it from model.parameters() of this very model."
            )
        self._sums = np.zeros((len(self._cells), len(FORCES) - 1))
        self._on_device: dict[torch.device, torch.Tensor] = {}
        self._before: dict[torch.Tensor, torch.Tensor] = {}
        self._squares = self._squared_norms()
        self._hooks = [
            optimizer.register_step_pre_hook(self._copy),
            optimizer.register_step_post_hook(self._add),
        ]

    def at(self, step: int) -> dict[Cell, Array]:
        """Give the sums until now of every matrix.

        Parameters
        ----------
        step : int
            The training step that this is, for a warning.

        Returns
        -------
        dict of (layer, component, expert) to ndarray of float64
            `FORCES`: the four sums since the first step that was seen, and ‖W‖² now, in squared
            units of the weights. The expert is -1 for a matrix that is not one.
        """
        sums, squares = self._both()
        if not self._looked_at and self._every == 1 and not np.array_equal(squares, self._squares):
            warnings.warn(
                f"The weights have changed before step {step}, but the optimizer whose forces are "
                "recorded made no step: was it built anew? Forces are those of the old one.",
                stacklevel=3,
            )
        self._squares, self._looked_at = squares, False
        return dict(zip(self._cells, np.column_stack([sums, squares]), strict=True))

    def look(self) -> dict[Cell, Array]:
        """Give the sums as `at` does, of weights that something else may have changed."""
        sums, self._squares = self._both()
        return dict(zip(self._cells, np.column_stack([sums, self._squares]), strict=True))

    def close(self) -> None:
        """Let go of the optimiser; what was summed stays."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._before.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find(self, model: torch.nn.Module, fused: Fused) -> None:
        """List the weight matrices of a model, by the parameters that hold them."""
        listing = list_matrices(Planned(type(model).__name__, 0, model), fused=fused)
        if listing.error is not None:
            raise listing.error
        if listing.checkpoint is None:
            raise CheckpointError(listing.source.path, "it has no tensors")
        for tensor in listing.tensors:
            parameter = listing.checkpoint.tensor(tensor.info.name)
            if parameter is None:
                continue
            if hasattr(parameter, "device_mesh"):
                raise TypeError(
                    "`model` must lie in one process for its forces to be recorded; "
                    f"`{tensor.info.name}` is spread over several."
                )
            for expert in tensor.experts:
                part = _Part(len(self._cells), tensor, expert)
                self._parts.setdefault(parameter, []).append(part)
                self._cells.append((tensor.role.layer, tensor.role.component, expert))

    def _both(self) -> tuple[Array, Array]:
        """Give the sums of all devices, and ‖W‖² now."""
        sums = self._sums.copy()
        for there in self._on_device.values():
            sums += there.cpu().numpy()
        return sums, self._squared_norms()

    def _squared_norms(self) -> Array:
        """Give ‖W‖² of every matrix."""
        import torch

        found = np.empty(len(self._cells))
        for parameter, parts in self._parts.items():
            for part in parts:
                norm = torch.linalg.vector_norm(part.of(parameter), dtype=torch.float64)
                found[part.row] = float(norm) ** 2
        return found

    def _stepped(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[torch.Tensor, Any]]:
        """Give the parameters of matrices that the optimiser steps, with their groups."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter in self._parts and parameter.grad is not None:
                    yield parameter, group

    def _copy(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Keep the weights before a step where rounding hides them afterwards."""
        if (self._steps + 1) % self._every:
            return
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter in self._parts and parameter.dtype.itemsize < 4:
                    self._before[parameter] = parameter.detach().clone()

    def _add(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Add the forces of the step that was just made."""
        self._steps += 1
        if self._steps % self._every:
            return
        self._looked_at = True
        jobs: list[tuple[_Part, _Rule, list[NDArray[Any]]]] = []
        for parameter, group in self._stepped(optimizer):
            state = optimizer.state[parameter]
            rule = _rule(optimizer, parameter, group, self._every)
            square = state["max_exp_avg_sq" if group["amsgrad"] else "exp_avg_sq"]
            for part in self._parts[parameter]:
                there = [part.of(tensor) for tensor in (parameter, state["exp_avg"], square)]
                if arrays := _as_arrays(there):
                    jobs.append((part, rule, arrays))
                else:
                    copy = self._before.get(parameter)
                    self._add_tensors(part, rule, there, None if copy is None else part.of(copy))
        size = sum(arrays[0].size for *_, arrays in jobs)
        on_threads(self._add_arrays, jobs, usable_cores() if size > _ON_THREADS else 1)

    def _add_arrays(self, job: tuple[_Part, _Rule, list[NDArray[Any]]]) -> None:
        """Add the forces on a matrix in the memory of the CPU."""
        part, rule, arrays = job
        if rule.times == 0:
            return
        kind = arrays[0].dtype.type
        numbers = rule.mean_scale, rule.root_scale, rule.eps, rule.rate
        products = _products(*arrays, *(kind(float(number)) for number in numbers))
        self._sums[part.row] += _forces_of(rule, *products, kept=1 - rule.lost)

    def _add_tensors(
        self, part: _Part, rule: _Rule, there: list[torch.Tensor], before: torch.Tensor | None
    ) -> None:
        """Add the forces on a matrix by torch, on its device and without waiting for it."""
        import torch

        wide = torch.float64 if there[0].dtype == torch.float64 else torch.float32
        after, mean, square = (tensor.to(wide) for tensor in there)
        update = mean * rule.mean_scale / (square.sqrt() * rule.root_scale + rule.eps)
        weights = after + update * rule.rate if before is None else before.to(wide)
        kept = 1 - rule.lost if before is None else 1.0
        pairs = ((weights, update), (update, update), (weights, weights))
        products = [(one * other).sum(dtype=torch.float64) for one, other in pairs]
        device = after.device
        if device not in self._on_device:
            self._on_device[device] = torch.zeros(
                self._sums.shape, dtype=torch.float64, device=device
            )
        self._on_device[device][part.row] += torch.stack(_forces_of(rule, *products, kept=kept))


def _check_optimizer(optimizer: Any) -> None:
    """Raise unless an optimiser steps as AdamW does."""
    import torch

    decoupled = isinstance(optimizer, torch.optim.Adam) and all(
        group.get("decoupled_weight_decay") for group in optimizer.param_groups
    )
    if not decoupled and not isinstance(optimizer, torch.optim.AdamW):
        raise TypeError(
            "`optimizer` must be a torch.optim.AdamW for its forces to be recorded, got "
            f"{type(optimizer).__name__}. Record without forces, or see weibnb.forces, which "
            "estimates them from checkpoints."
        )


def _rule(optimizer: Any, parameter: torch.Tensor, group: dict[str, Any], every: int) -> _Rule:
    """Read how the step that was just made changed a parameter."""
    step, (beta1, beta2) = optimizer.state[parameter]["step"], group["betas"]
    skipped = getattr(optimizer, "found_inf", None)  # set while torch.amp.GradScaler steps
    times = every if skipped is None else every * (1 - skipped)
    rate, step, times = (_on_host(number) for number in (group["lr"], step, times))
    kept = 1 - rate * group["weight_decay"]
    if parameter.dtype.itemsize <= 4:  # as the optimiser has them: of ηλ = 3e-5, 0.1 % is rounding
        rate, kept = _narrow(rate), _narrow(kept)
    mean_scale, root_scale = 1 / (1 - beta1**step), (1 - beta2**step) ** -0.5
    return _Rule(rate, 1 - kept, mean_scale, root_scale, group["eps"], times)


def _on_host(number: Any) -> Any:
    """Make a float of a number, unless it is a tensor on a device, which is not waited for."""
    is_far = hasattr(number, "device") and number.device.type != "cpu"
    return number if is_far else float(number)


def _narrow(number: Any) -> Any:
    """Round a number to float32."""
    return float(np.float32(number)) if isinstance(number, float) else number.float()


def _forces_of(rule: _Rule, alignment: Any, injection: Any, square: Any, *, kept: Any) -> list[Any]:
    """Make the forces of a step from ⟨W, u⟩, ‖u‖² and ‖W‖² of weights of which a share was kept."""
    rate, lost = rule.rate, rule.lost
    alignment, square = alignment / kept, square / kept**2
    found = [
        2 * rate * alignment,
        rate**2 * injection,
        2 * lost * square,
        lost**2 * square + 2 * rate * lost * alignment,
    ]
    return [one * rule.times for one in found]


def _as_arrays(tensors: list[torch.Tensor]) -> list[NDArray[Any]] | None:
    """View tensors as arrays, where the compiled loop can walk over them."""
    first = tensors[0]
    for tensor in tensors:
        if tensor.device.type != "cpu" or tensor.dtype != first.dtype or first.dtype.itemsize < 4:
            return None
        if not tensor.is_contiguous():
            return None
    return [tensor.view(-1).numpy() for tensor in tensors]


@compiled_sums
def _products(
    after: Any,
    mean: Any,
    square: Any,
    mean_scale: Any,
    root_scale: Any,
    eps: Any,
    rate: Any,
) -> tuple[float, float, float]:
    """Sum ⟨W, u⟩, ‖u‖² and ‖W‖² with the weights before the step but after the decay."""
    alignment, injection, squares = 0.0, 0.0, 0.0
    for i in range(after.size):
        update = np.divide(mean[i] * mean_scale, np.sqrt(square[i]) * root_scale + eps)
        weight = after[i] + rate * update
        alignment += np.float64(weight * update)
        injection += np.float64(update * update)
        squares += np.float64(weight * weight)
    return alignment, injection, squares
