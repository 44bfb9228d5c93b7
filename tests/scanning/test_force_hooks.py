"""Forces of AdamW, summed step by step, against AdamW written out in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import weibnb as wb
from weibnb.counting import dispatch
from weibnb.fits.schema import FORCES
from weibnb.scanning import recorder as recorder_module

torch = pytest.importorskip("torch")

from weibnb.scanning.force_hooks import Forces

STEPS = 60
NAMES = {name: (0, name, -1) for name in ("q_proj", "up_proj", "down_proj")}


class Tiny(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Three matrices under the names that checkpoints use, with gradients that are given."""

    def __init__(self, dtype: Any = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        shapes = {"self_attn.q_proj": (24, 24), "mlp.up_proj": (40, 24), "mlp.down_proj": (24, 40)}
        for name, shape in shapes.items():
            weight = torch.nn.Parameter((0.05 * torch.randn(shape)).to(dtype))
            module = torch.nn.Module()
            module.register_parameter("weight", weight)
            self.add_module(f"layers.0.{name}".replace(".", "_"), module)
            self._named = getattr(self, "_named", {}) | {f"layers.0.{name}.weight": weight}

    def named_parameters(self, *_: Any, **__: Any) -> Any:
        return iter(self._named.items())

    def matrices(self) -> list[Any]:
        return list(self._named.values())


def gradients(step: int, place: int, shape: Any) -> Any:
    """Give the gradient of a matrix: noise, and a part that goes on."""
    rng = np.random.default_rng([step, place])
    return rng.normal(size=shape) + np.random.default_rng(place).normal(size=shape)


class Written(NamedTuple):
    """What AdamW, written out in float64, makes of a matrix, and the forces on it."""

    weights: Any
    sums: Any
    wrong: float  # with the weights after the step


def adamw(
    weights: Any,
    place: int,
    *,
    lr: Any,
    weight_decay: float,
    amsgrad: bool = False,
    maximize: bool = False,
    skip: Any = (),
) -> Written:
    """Step as the paper of AdamW writes it; ⟨W, u⟩ with W before the step.

    Of weights in float32 torch multiplies by 1 - ηλ in float32.
    """
    kind = np.asarray(weights).dtype.type
    weights = np.array(weights, np.float64)
    mean, square, largest = (np.zeros_like(weights) for _ in range(3))
    sums, wrong, number = np.zeros(4), 0.0, 0
    for step in range(STEPS):
        if step in skip:
            continue
        number += 1
        rate = lr(step) if callable(lr) else lr
        gradient = (-1 if maximize else 1) * gradients(step, place, weights.shape)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        largest = np.maximum(largest, square)
        second = largest if amsgrad else square
        update = (mean / (1 - 0.9**number)) / (np.sqrt(second / (1 - 0.999**number)) + 1e-8)
        lost, dot = 1 - float(kind(1 - rate * weight_decay)), (weights * update).sum()
        size = (weights**2).sum()
        injected = rate**2 * (update**2).sum()
        sums += [2 * rate * dot, injected, 2 * lost * size, lost**2 * size + 2 * rate * lost * dot]
        weights = (1 - lost) * weights - rate * update
        wrong += -2 * rate * (weights * update).sum() + injected - 2 * lost * size
    return Written(weights, sums, wrong)


def train(model: Tiny, optimizer: Any, forces: Forces, *, skip: Any = (), lr: Any = None) -> Any:
    """Step with the gradients above; give the forces before and after."""
    start = forces.at(0)
    for step in range(STEPS):
        for place, weight in enumerate(model.matrices()):
            grad = torch.from_numpy(gradients(step, place, weight.shape)).to(weight.dtype)
            weight.grad = None if step in skip else grad
        if lr is not None:
            optimizer.param_groups[0]["lr"] = lr(step)
        optimizer.step()
    end = forces.at(STEPS)
    return {cell: end[cell] - start[cell] for cell in end}


FLAVOURS: dict[str, dict[str, Any]] = {
    "default": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "amsgrad": {"amsgrad": True},
    "amsgrad fused": {"amsgrad": True, "fused": True},
    "maximize": {"maximize": True},
    "lr is a tensor": {"lr": torch.tensor(2e-3), "fused": True},
    "no decay": {"weight_decay": 0.0},
}


def closure(found: Any) -> float:
    alignment, injection, decay, rest, square = found
    return float(square - (-alignment + injection - decay + rest))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_sums_are_those_of_adamw_written_out(flavour: str) -> None:
    given = {"lr": 2e-3, "weight_decay": 0.3} | FLAVOURS[flavour]
    model = Tiny()
    before = [weight.detach().numpy().copy() for weight in model.matrices()]
    optimizer = torch.optim.AdamW(model.matrices(), **given)
    with Forces(optimizer, model) as forces:
        found = train(model, optimizer, forces)
    known = {name: given[name] for name in ("amsgrad", "maximize") if name in given}
    for place, cell in enumerate(NAMES.values()):
        written = adamw(
            before[place], place, lr=float(given["lr"]), weight_decay=given["weight_decay"], **known
        )
        size = (before[place] ** 2).sum()
        weight = model.matrices()[place].detach().numpy()
        np.testing.assert_allclose(weight, written.weights, atol=1e-6)
        np.testing.assert_allclose(found[cell][:4], written.sums, rtol=2e-5, atol=1e-6 * size)
        assert abs(closure(found[cell])) < 1e-6 * size
        first_order = closure(found[cell]) + found[cell][3]
        assert abs(first_order) < 0.01 * np.abs(found[cell][:3]).max()


def test_weights_after_the_step_would_not_close() -> None:
    """-2η⟨W', u⟩ + J - D is off by twice the injection; the sums here are not."""
    model = Tiny()
    before = [weight.detach().numpy().copy() for weight in model.matrices()]
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-3, weight_decay=0.01)
    with Forces(optimizer, model) as forces:
        found = train(model, optimizer, forces)
    for place, cell in enumerate(NAMES.values()):
        written = adamw(before[place], place, lr=2e-3, weight_decay=0.01)
        growth, injected = found[cell][4], found[cell][1]
        assert (written.wrong - growth) / injected == pytest.approx(2, rel=0.01)
        assert abs(closure(found[cell])) < 1e-4 * injected


def test_float64_closes_to_its_rounding() -> None:
    model = Tiny(torch.float64)
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-3, weight_decay=0.3)
    with Forces(optimizer, model) as forces:
        found = train(model, optimizer, forces)
    for place, cell in enumerate(NAMES.values()):
        start = Tiny(torch.float64).matrices()[place].detach().numpy()
        written = adamw(start, place, lr=2e-3, weight_decay=0.3)
        np.testing.assert_allclose(found[cell][:4], written.sums, rtol=1e-11)
        assert abs(closure(found[cell])) < 1e-12


def test_in_bfloat16_the_update_is_summed_and_rounding_is_the_rest() -> None:
    """W is copied before the step: made from W' it would be off by what rounding did."""
    model = Tiny(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-3, weight_decay=0.3)
    sums = np.zeros((3, 4))
    with Forces(optimizer, model) as forces:
        start = forces.at(0)
        for step in range(STEPS):
            before = [w.detach().double().numpy().copy() for w in model.matrices()]
            for place, weight in enumerate(model.matrices()):
                weight.grad = torch.from_numpy(gradients(step, place, weight.shape)).bfloat16()
            optimizer.step()
            lost = 1 - float(np.float32(1 - 2e-3 * 0.3))
            for place, weight in enumerate(model.matrices()):
                state = optimizer.state[weight]
                mean, square = (
                    state[name].double().numpy() / (1 - beta ** (step + 1))
                    for name, beta in (("exp_avg", 0.9), ("exp_avg_sq", 0.999))
                )
                update = mean / (np.sqrt(square) + 1e-8)
                dot, size = (before[place] * update).sum(), (before[place] ** 2).sum()
                injected = 4e-6 * (update**2).sum()
                rest = lost**2 * size + 4e-3 * lost * dot
                sums[place] += [4e-3 * dot, injected, 2 * lost * size, rest]
        end = forces.at(STEPS)
    for place, cell in enumerate(NAMES.values()):
        np.testing.assert_allclose(end[cell][:4] - start[cell][:4], sums[place], rtol=1e-5)
        weight = model.matrices()[place].detach().double().numpy()
        assert end[cell][4] == pytest.approx((weight**2).sum(), rel=1e-9)


def test_groups_have_their_own_rate_and_decay_and_schedules_are_followed() -> None:
    def rate(step: int) -> float:
        return 4e-3 * min(1, (step + 1) / 20)

    model = Tiny()
    before = [weight.detach().numpy().copy() for weight in model.matrices()]
    first, *others = model.matrices()
    optimizer = torch.optim.AdamW(
        [{"params": [first], "weight_decay": 0.5}, {"params": others, "lr": 1e-3}], weight_decay=0.0
    )
    with Forces(optimizer, model) as forces:
        found = train(model, optimizer, forces, lr=rate)
    rules: list[tuple[Any, float]] = [(rate, 0.5), (1e-3, 0.0), (1e-3, 0.0)]
    for place, (cell, (lr, decay)) in enumerate(zip(NAMES.values(), rules, strict=True)):
        written = adamw(before[place], place, lr=lr, weight_decay=decay)
        size = (before[place] ** 2).sum()
        np.testing.assert_allclose(found[cell][:4], written.sums, rtol=2e-5, atol=1e-6 * size)


def test_what_has_no_gradient_is_moved_by_no_force() -> None:
    model = Tiny()
    before = [weight.detach().numpy().copy() for weight in model.matrices()]
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-3, weight_decay=0.3)
    skip = set(range(7, 20))
    with Forces(optimizer, model) as forces:
        found = train(model, optimizer, forces, skip=skip)
    for place, cell in enumerate(NAMES.values()):
        written = adamw(before[place], place, lr=2e-3, weight_decay=0.3, skip=skip)
        np.testing.assert_allclose(found[cell][:4], written.sums, rtol=2e-5, atol=1e-7)


def test_a_step_that_the_scaler_skips_adds_nothing() -> None:
    model = Tiny()
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-3, weight_decay=0.3, fused=True)
    with Forces(optimizer, model) as forces:
        for overflow in (0.0, 1.0, 1.0, 0.0):
            for place, weight in enumerate(model.matrices()):
                weight.grad = torch.from_numpy(gradients(0, place, weight.shape)).float()
            optimizer.grad_scale = torch.tensor(1.0)
            optimizer.found_inf = torch.tensor(overflow)
            earlier = forces.at(0)
            optimizer.step()
            for cell, now in forces.at(0).items():
                assert (now == earlier[cell]).all() == bool(overflow)
                assert abs(closure(now - earlier[cell])) < 1e-6 * now[4]


def test_frozen_matrices_are_there_and_still() -> None:
    model = Tiny()
    optimizer = torch.optim.AdamW(model.matrices()[1:], lr=2e-3)
    with Forces(optimizer, model) as forces:
        found = train(model, optimizer, forces)
    assert not found[NAMES["q_proj"]].any()
    assert found[NAMES["up_proj"]].all()


def test_some_steps_stand_for_all() -> None:
    """Steps that are left out come from their neighbours; the norm tells what that costs."""
    model = Tiny()
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-4, weight_decay=0.3)
    with Forces(optimizer, model) as whole, Forces(optimizer, model, every=4) as some:
        exact = train(model, optimizer, whole)
        sampled = some.at(STEPS)
    for cell in NAMES.values():
        np.testing.assert_allclose(sampled[cell][2], exact[cell][2], rtol=0.02)
        np.testing.assert_allclose(sampled[cell][1], exact[cell][1], rtol=0.1)
        assert sampled[cell][0] != exact[cell][0]


def test_after_close_nothing_is_added() -> None:
    model = Tiny()
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-3)
    with Forces(optimizer, model) as forces:
        pass
    with pytest.warns(UserWarning, match="made no step: was it built anew"):
        found = train(model, optimizer, forces)
    assert not any(sums[:4].any() for sums in found.values())


def test_an_optimiser_that_was_built_anew_is_told() -> None:
    model = Tiny()
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-3)
    with Forces(optimizer, model) as forces:
        train(model, optimizer, forces)
        forces.at(STEPS)  # nothing happened since
        other = torch.optim.AdamW(model.matrices(), lr=2e-3)
        other.step()
        with pytest.warns(UserWarning, match="before step 61, .* built anew"):
            forces.at(61)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop", "Adamax"])
def test_other_optimisers_are_refused(kind: str) -> None:
    model = Tiny()
    optimizer = getattr(torch.optim, kind)(model.matrices(), lr=1e-3)
    with pytest.raises(TypeError, match=rf"must be a torch.optim.AdamW .* got {kind}\. Record"):
        Forces(optimizer, model)


def test_what_cannot_be_recorded_is_refused() -> None:
    model = Tiny()
    optimizer = torch.optim.AdamW(Tiny().matrices(), lr=1e-3)
    with pytest.raises(ValueError, match="`optimizer` must hold weight matrices of the model"):
        Forces(optimizer, model)
    optimizer = torch.optim.AdamW(model.matrices(), lr=1e-3)
    for every in (0, True, 1.5):
        with pytest.raises(ValueError, match="`every` must be an integer of at least 1"):
            Forces(optimizer, model, every=every)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`optimizer` must be given"):
        wb.Recorder(model, forces=True)


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("device", [False, True])
def test_a_recorder_keeps_forces_in_its_fits(
    tmp_path: Any, store: bool, device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted on threads, or with torch's CPU in the place of a device, where fits are made."""
    if device:
        for room in (dispatch, recorder_module):
            monkeypatch.setattr(room, "resolve_devices", lambda device: [torch.device("cpu")])
    model = Tiny()
    optimizer = torch.optim.AdamW(model.matrices(), lr=2e-3, weight_decay=0.3)
    place = tmp_path / "run.db" if store else None
    options: Any = {"store": place, "backend": "torch" if device else "auto"}
    with wb.Recorder(model, name="run", optimizer=optimizer, forces=True, **options) as recorder:
        for step in range(4):
            recorder.record(step)
            for at, weight in enumerate(model.matrices()):
                weight.grad = torch.from_numpy(gradients(step, at, weight.shape)).float()
            optimizer.step()
        fits = recorder.fits()
    wb.save_fits(fits, tmp_path / "run.nc")
    files = [tmp_path / "run.nc", *([] if place is None else [place])]
    for opened in (fits, *map(wb.open_fits, files)):
        for name in FORCES:
            np.testing.assert_array_equal(opened[name].values, fits[name].values)
            assert opened[name].dims == ("model", "layer", "component", "step")
            assert opened[name].attrs["units"] == "units of the weights squared"
        refitted = wb.refit(opened, trim=(0.2, 0.8))
        np.testing.assert_array_equal(refitted.squared_norm.values, fits.squared_norm.values)
    expected = (fits.rms**2 * fits.rows * fits.cols).values
    np.testing.assert_allclose(fits.squared_norm.values, expected, rtol=1e-3)  # rms of intervals


def test_fits_without_forces_have_no_variables_for_them(tmp_path: Any) -> None:
    with wb.Recorder(Tiny(), store=tmp_path / "run.db") as recorder:
        recorder.record(0)
        assert not set(FORCES) & set(recorder.fits().variables)
    assert not set(FORCES) & set(wb.open_fits(tmp_path / "run.db").variables)


def test_parts_of_fused_matrices_and_experts_have_their_own() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0)
    model = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.3)
    with Forces(optimizer, model, fused="both") as forces:
        start = forces.at(0)
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.randn(4, 8, 32)).cos().sum().backward()
            optimizer.step()
        end = forces.at(5)
    found = {component: end[0, component, -1] - start[0, component, -1] for _, component, _ in end}
    parts = found["q_proj"] + found["k_proj"] + found["v_proj"]
    np.testing.assert_allclose(found["qkv_proj"], parts, rtol=1e-4, atol=1e-7)
    for sums in found.values():
        assert abs(closure(sums)) < 1e-6 * 30
