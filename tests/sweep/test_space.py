import pytest

from decausal.sweep.space import Space, name_setting, parse_axes, parse_seeds


def test_every_pattern_is_tried_once_before_any_is_tried_with_another_seed():
    space = Space(("0", "1"), (7, 8), {"lora_r": ("4", "8")})
    assert [name_setting(setting) for setting in space.settings()] == [
        "unmask=0,seed=7,lora_r=4",
        "unmask=1,seed=7,lora_r=4",
        "unmask=0,seed=7,lora_r=8",
        "unmask=1,seed=7,lora_r=8",
        "unmask=0,seed=8,lora_r=4",
        "unmask=1,seed=8,lora_r=4",
        "unmask=0,seed=8,lora_r=8",
        "unmask=1,seed=8,lora_r=8",
    ]


def test_a_group_of_layers_is_a_parameter_of_its_own():
    space = Space(("0011", "1111"), (7,))
    assert space.parameters({"unmask": "0011", "seed": 7}) == {
        "group_0": "0", "group_1": "0", "group_2": "1", "group_3": "1",
    }  # fmt: skip


def test_patterns_of_different_kinds_are_one_parameter():
    space = Space(("0011", "all"), (7,))
    assert space.parameters({"unmask": "all", "seed": 7}) == {"unmask": "all"}


def test_a_setting_names_a_directory():
    assert name_setting({"unmask": "0-3,5", "seed": 1, "model_name_or_path": "a/b"}) == (
        "unmask=0-3,5,seed=1,model_name_or_path=a_b"
    )


def test_seeds_are_read_once_each():
    assert parse_seeds("120, 121,120") == (120, 121)


@pytest.mark.parametrize("text", ["", "120,", "-1", "1.5", "4294967296"])
def test_what_is_no_seed_is_refused(text):
    with pytest.raises(ValueError, match="is no seed"):
        parse_seeds(text)


def test_axes_are_fields_with_values():
    assert parse_axes(["learning_rate=1e-4, 5e-4,1e-4", "--lora_r=8"]) == {
        "learning_rate": ("1e-4", "5e-4"),
        "lora_r": ("8",),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (["learning_rate"], "write a field of the recipe and its values"),
        (["lora_r="], "write a field of the recipe and its values"),
        (["seed=1,2"], "seed is set by --seeds"),
        (["unmask=0011"], "unmask is set by --patterns"),
        (["output_dir=a,b"], "output_dir is set by --output_dir"),
        (["lora_r=8", "lora_r=16"], "lora_r has values already: 8"),
    ],
)
def test_axes_that_are_none_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_axes(text)
