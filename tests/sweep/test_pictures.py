"""Plots that stand within a page."""

import re
from xml.etree import ElementTree

import pytest

from decausal.sweep.analysis import analyse
from decausal.sweep.grouping import group
from decausal.sweep.pictures import draw_curves, draw_scatter


@pytest.fixture
def analysis(sweep):
    return analyse(group(sweep(num_sentences=40))[0])


@pytest.mark.parametrize("draw", [draw_scatter, draw_curves])
def test_a_picture_is_one_element_of_text_in_the_colours_of_the_page(analysis, draw):
    picture = draw(analysis, "a")
    assert ElementTree.fromstring(picture.replace("xlink:href", "href")).tag == "svg"
    assert "validation F1</text>" in picture
    assert {"currentColor", "var(--chosen)", "var(--causal)", "var(--faint)"} <= set(re.findall(r"[\w()-]+", picture))
    assert re.findall(r"#[0-9a-f]{6}|<style|<metadata|http", picture) == []


def test_two_pictures_share_no_name(analysis):
    names = [set(re.findall(r'\bid="([^"]+)"', draw_scatter(analysis, key))) for key in ("a", "b")]
    assert names[0]
    assert not names[0] & names[1]


def test_every_reference_within_a_picture_is_met(analysis):
    picture = draw_curves(analysis, "a")
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', picture))
    assert references
    assert references <= set(re.findall(r'\bid="([^"]+)"', picture))


def test_the_same_runs_give_the_same_picture(analysis):
    assert draw_scatter(analysis, "a") == draw_scatter(analysis, "a")


def test_the_scatter_names_the_causal_the_chosen_and_the_best_pattern(outcome):
    runs = [
        outcome("0000", validation={"f1": 60.0}, test={"f1": 61.0}),
        outcome("0011", validation={"f1": 70.0}, test={"f1": 72.0}),
        outcome("1111", validation={"f1": 71.0}, test={"f1": 70.0}),
    ]
    picture = draw_scatter(analyse(group(runs)[0]), "a")
    assert re.findall(r">([01]{4}[^<]*)</text>", picture) == ["0000 causal", "0011 best on test", "1111 chosen"]


def test_there_is_no_scatter_without_test_data(outcome):
    runs = [outcome(unmask, counts={"validation": [(1, 1, 1)] * 2}) for unmask in ("0000", "0011")]
    assert draw_scatter(analyse(group(runs)[0]), "a") is None


def test_there_are_no_curves_without_evaluations(outcome):
    assert draw_curves(analyse(group([outcome(curve=[])])[0]), "a") is None


def test_curves_are_drawn_of_one_evaluation_of_equal_scores(outcome):
    assert draw_curves(analyse(group([outcome(curve=[{"epoch": 0.5, "f1": 0.0}])])[0]), "a").startswith("<svg")
