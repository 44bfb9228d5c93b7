"""Names of one's own: what a pattern places where, and what is wrong with one."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from weibnb.io.names import names_from, names_to_copy
from weibnb.io.naming import Role, Skip, identify

SHAPE = (16, 16)


@pytest.mark.parametrize(
    ("pattern", "name", "role"),
    [
        ("net.*.weight", "net.3.weight", Role("linear", 3)),
        ("*.weight", "proj.weight", Role("linear", 0)),
        ("blocks.?.fc.weight", "blocks.7.fc.weight", Role("linear", 7)),
        ("*fc*", "encoder.blocks.12.sub.1.fc", Role("linear", 12)),
        ("*experts*", "net.2.experts.5.w.weight", Role("linear", 2, 5)),
        (r"re:stage(?P<layer>\d+)_fc", "stage4_fc", Role("linear", 4)),
        (r"re:.*\.e(?P<expert>\d+)\.w", "net.2.e5.w", Role("linear", 2, 5)),
        ("module.net.*.weight", "module.net.1.weight", Role("linear", 1)),
    ],
)
def test_a_pattern_places_a_matrix(pattern: str, name: str, role: Role) -> None:
    names = names_from({pattern: "linear"})
    assert names.identify(name, SHAPE) == role
    assert names.places(name, SHAPE)


@pytest.mark.parametrize("shape", [(16,), (16, 1), (1, 16), (4, 16, 16), ()])
def test_what_is_no_matrix_is_left_to_its_family(shape: tuple[int, ...]) -> None:
    names = names_from({"*": "linear"})
    assert names.identify("net.0.thing", shape) == identify("net.0.thing", shape)
    assert not names.places("net.0.thing", shape)


def test_a_name_too_long_for_patterns_is_not_placed() -> None:
    names = names_from({"*": "linear"})
    assert names.places("n" * 200, SHAPE)
    assert not names.places("n" * 201, SHAPE)


def test_a_pattern_comes_before_the_family_and_leaves_the_rest() -> None:
    names = names_from({"*.q_proj.weight": "query"})
    q, k = (f"model.layers.1.self_attn.{name}_proj.weight" for name in "qk")
    assert names.identify(q, SHAPE) == Role("query", 1)
    assert names.identify(k, SHAPE) == Role("k_proj", 1)
    assert names_from(None).identify(q, SHAPE) == Role("q_proj", 1)
    assert isinstance(names.identify("net.0.weight", SHAPE), Skip)


@pytest.mark.parametrize(
    ("names", "error", "told"),
    [
        (["a"], TypeError, "must map patterns to components"),
        ({1: "a"}, TypeError, "must map str to str"),
        ({"a": 1}, TypeError, "must map str to str"),
        ({"a": ""}, ValueError, "must be words of letters"),
        ({"a": "two words"}, ValueError, "must be words of letters"),
        ({"a": "a..b"}, ValueError, "must be words of letters"),
        ({"a": "x\x1b[31m"}, ValueError, "must be words of letters"),
        ({"a": "x" * 101}, ValueError, "must be words of letters"),
        ({"re:(a+)+b": "a"}, ValueError, "take for ever"),
        ({"re:(": "a"}, ValueError, "no regular expression"),
        ({"": "a"}, ValueError, "1 to 1,000 characters"),
    ],
)
def test_what_is_not_valid_is_told(names: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        names_from(names)


def test_a_tensor_that_two_patterns_fit() -> None:
    names = names_from({"net.*": "linear", "*.0.*": "first"})
    assert names.identify("net.1.weight", SHAPE) == Role("linear", 1)
    with pytest.raises(ValueError, match=r"'net\.\*' and '\*\.0\.\*' both fit `net\.0\.weight`"):
        names.identify("net.0.weight", SHAPE)


@pytest.mark.parametrize("layer", ["x", "²", "9" * 12, "9" * 30])
def test_a_layer_that_is_no_number(layer: str) -> None:
    names = names_from({r"re:net\.(?P<layer>.*)\.weight": "linear"})
    with pytest.raises(ValueError, match="must find a number as `layer`"):
        names.identify(f"net.{layer}.weight", SHAPE)


def test_a_pattern_that_fits_nothing_names_the_closest() -> None:
    tensors = [("net.0.weight", SHAPE), ("net.0.bias", (16,)), ("head.weight", SHAPE)]
    names_from({"net.*": "linear"}).check_used(tensors)
    with pytest.raises(ValueError, match=r"'nett\.\*' fits none .*Did you mean 'net\.0\.weight'"):
        names_from({"net.*": "linear", "nett.*": "other"}).check_used(tensors)
    with pytest.raises(ValueError, match="fits none"):
        names_from({"*.bias": "linear"}).check_used(tensors)
    names_from(None).check_used([])


def test_the_line_to_copy_places_what_it_is_made_of() -> None:
    found = ["net.0.weight", "net.2.weight", "odd[1].fc1.weight", "tower.a*b.7.proj", "w"]
    entries = [{"tensor": n, "shape": list(SHAPE), "reason": "unrecognised"} for n in found]
    entries.append({"tensor": "net.0.bias", "shape": [16], "reason": "bias"})
    text = names_to_copy(entries)
    names = names_from(ast.literal_eval(text))
    for name in found:
        assert isinstance(names.identify(name, SHAPE), Role), (name, text)
    assert not names_to_copy(entries[-1:])
    assert not names_to_copy([])
