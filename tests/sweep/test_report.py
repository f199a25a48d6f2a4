"""The page of a sweep: that it holds the numbers, needs nothing else, and bears every sweep."""

import re
from html.parser import HTMLParser

import pytest

from decausal.sweep.report import say_setting, vary, write_report
from decausal.sweep.trials import Failure

RIGHT, WRONG = (1, 1, 1), (0, 1, 1)
VOID = {"meta", "br", "link", "img", "hr"}
SECTIONS = [
    "F1 of each pattern",
    "Map of the patterns",
    "Does validation choose well?",
    "Entity types",
    "Learning curves",
    "Cost",
    "Is it significant?",
    "Failed trials",
    "Settings of the sweep",
]


class Nesting(HTMLParser):
    """Knows which elements are open, and which were closed in a wrong place."""

    def __init__(self, page):
        super().__init__()
        self.open, self.wrong = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.open += [tag] * (tag not in VOID)

    def handle_endtag(self, tag):
        self.wrong += [tag] * (self.open[-1:] != [tag])
        self.open = self.open[:-1]


def read(path):
    """A page, with every run of white space as one blank."""
    return re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))


@pytest.fixture
def page(tmp_path):
    """Writes a report and reads its page."""

    def build(outcomes, failures=(), name="conll"):
        return read(write_report(name, outcomes, failures, tmp_path / "report"))

    return build


@pytest.fixture(scope="module")
def whole(sweep, tmp_path_factory):
    """The page of 16 patterns and 3 seeds, one of whose trials failed."""
    failure = Failure({"unmask": "0101", "seed": 123}, "RuntimeError: loss is nan", "outputs/0101-123/log.txt")
    return read(write_report("conll", sweep(num_sentences=60), [failure], tmp_path_factory.mktemp("whole")))


def text(page):
    """What a reader sees, without layout."""
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<body>")[1]))
    return re.sub(r" ([.,;:)])", r"\1", plain.replace("\u2011", "-"))


def test_the_page_is_where_it_is_said_to_be_with_its_tables_beside_it(sweep, tmp_path):
    path = write_report("conll", sweep(num_sentences=20), [], tmp_path / "new" / "report")
    assert path == tmp_path / "new" / "report" / "report.html"
    assert (path.parent / "table_f1.csv").exists()
    assert (path.parent / "table_f1.tex").exists()


def test_sections_stand_in_the_order_in_which_a_reader_wants_them(whole):
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", whole) == SECTIONS


def test_the_page_needs_nothing_beside_itself_and_no_script(whole):
    assert re.findall(r"https?:|<script|<link|<img|<iframe|\bsrc=|@import|url\((?!#)", whole) == []


def test_the_page_is_well_formed(whole):
    assert whole.startswith("<!doctype html>")
    nesting = Nesting(whole)
    assert (nesting.open, nesting.wrong) == ([], [])


def test_names_of_elements_are_unique(whole):
    names = re.findall(r'\bid="([^"]+)"', whole)
    assert len(names) == len(set(names))


def test_the_page_suits_phones_and_dark_rooms(whole):
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in whole
    assert "prefers-color-scheme: dark" in whole
    assert whole.count("<table") == whole.count('<div class="scroll"><table')


def test_the_answer_comes_first(page, outcome):
    runs = [
        outcome("0000", 120, validation={"f1": 60.0}, test={"f1": 61.0}),
        outcome("0000", 121, validation={"f1": 62.0}, test={"f1": 61.5}),
        outcome("0011", 120, validation={"f1": 70.0}, test={"f1": 71.0}),
        outcome("0011", 121, validation={"f1": 72.0}, test={"f1": 73.0}),
    ]
    found = text(page(runs))
    assert found.startswith(
        " Sweep conll Unmask 0011: layers 2-3 of 4 input output On validation data it is the best of 2 patterns, with "
        "a mean F1 of 71.00; on test data it scores 72.00 (95 % confidence interval 59.29 to 84.71 over 2 seeds). "
        "That is 10.75 above the causal pattern 0000"
    )
    assert "Test F1 72.00 2 seeds Against causal +10.75 61.25 with 0000 Regret 0.00" in found


def test_the_table_of_f1_has_layers_beside_bits_and_both_splits(page, outcome):
    runs = [outcome("0011", seed, validation={"f1": 71.0}, test={"f1": 70.0 + seed % 2}) for seed in (120, 121)]
    found = text(page(runs))
    assert "Pattern Unmasked layers Validation F1 ± sd Test F1 ± sd 95 % interval (test) Seeds" in found
    assert "0011 2-3 71.00 ± 0.00 70.50 ± 0.71 64.15 to 76.85 2" in found


def test_layers_are_drawn_from_the_input_side_on_the_left(page, outcome):
    strips = re.findall(r'<svg class="strip"[^>]*>(.*?)</svg>', page([outcome("0011")]))
    assert strips
    assert {tuple(re.findall(r'class="(\w+)"', strip)) for strip in strips} == {("shut", "shut", "open", "open")}
    assert {tuple(re.findall(r' x="(\d+)"', strip)) for strip in strips} == {("1", "11", "21", "31")}


def test_a_map_is_drawn_of_bits_and_a_list_of_other_patterns(whole, page, outcome):
    layers = page([outcome("none"), outcome("2-3", test={"f1": 50.0}), outcome("1-3", test={"f1": 75.0})])
    assert whole.count('class="cell') == 16
    assert layers.count('class="cell') == 0
    assert re.findall(r"<code>([^<]+)</code>", layers.split("Patterns by score")[1].split("<h2>")[0]) == [
        "none",
        "1-3",
        "2-3",
    ]


def test_both_tests_stand_side_by_side_with_what_each_says(whole):
    assert "with these trained models given, would the difference last on other sentences of this kind?" in whole
    assert "would the difference last if the models were trained anew with other seeds" in whole
    assert text(whole).count("Difference p, sentences p, seeds") == 2
    assert "validation 17 " in text(whole)


def test_p_values_below_the_level_are_bold(page, outcome):
    runs = [outcome("0000", counts={"validation": [WRONG] * 9}), outcome("0011", counts={"validation": [RIGHT] * 9})]
    assert re.findall(r'<td class="sure">([^<]+)</td>', page(runs)) == ["0.004", "0.004"]


def test_spearman_and_regret_are_told(page, outcome):
    runs = [
        outcome("0000", validation={"f1": 60.0}, test={"f1": 61.0}),
        outcome("0011", validation={"f1": 70.0}, test={"f1": 72.5}),
        outcome("1111", validation={"f1": 71.0}, test={"f1": 70.0}),
    ]
    found = text(page(runs))
    assert "Spearman's ρ = 0.50 (p = 1.000, 3 patterns)" in found
    assert "The best on test is 0011: choosing on validation costs 2.50 points of test F1, the regret." in found


def test_failed_trials_are_shown_with_error_and_log(whole):
    assert '1 trial <a href="#failed">failed</a>' in whole
    assert "unmask 0101, seed 123 RuntimeError: loss is nan outputs/0101-123/log.txt" in text(whole)
    assert "Trials 48 finished, 1 failed" in text(whole)


def test_settings_and_machines_are_listed_each_once(whole):
    assert "seed 120, 121, 122, 123" in text(whole)
    assert "Machine architecture x86_64, cpu_capability AVX512, threads 2" in text(whole)


def test_names_are_escaped_wherever_they_come_from(page, outcome):
    evil = "<script>alert(1)</script>"
    runs = [
        outcome(
            "0011",
            types={evil: {"f1": 1.0, "support": 1}},
            axes={"window": evil + str(number)},
            machine={evil: evil},
        )
        for number in (1, 2)
    ]
    found = page(runs, [Failure({evil: evil}, evil, evil)], evil)
    assert "<script" not in found
    assert found.count("&lt;script&gt;") > 10


def test_groups_of_further_axes_are_reported_apart_the_best_open_and_first(page, outcome):
    runs = [
        outcome("0000", axes={"learning_rate": 1e-4}, validation={"f1": 50.0}),
        outcome("0011", axes={"learning_rate": 1e-4}, validation={"f1": 60.0}),
        outcome("0000", axes={"learning_rate": 5e-4}, validation={"f1": 80.0}),
        outcome("0011", axes={"learning_rate": 5e-4}, validation={"f1": 70.0}),
    ]
    found = page(runs)
    assert re.findall(r"<details class=\"part\"( open)?><summary>(.*?)</summary>", found) == [
        (" open", "learning_rate 0.0005"),
        ("", "learning_rate 0.0001"),
    ]
    assert "Leave every layer causal (0000), with learning_rate 0.0005" in text(found)
    assert "By setting" in found


def test_only_the_most_frequent_of_thousands_of_types_are_shown(page, outcome):
    types = {f"type {number}": {"f1": 1.0, "support": number} for number in range(3000)}
    found = page([outcome(types=types)])
    assert "40 of 3,000 types are shown; all are in <code>table_types.csv</code>" in found
    assert len(re.findall(r"type \d+", found)) == 40
    assert len(found) < 100_000


def test_one_seed_is_said_to_have_no_interval(page, outcome):
    found = text(page([outcome("0000"), outcome("0011")]))
    assert "one seed, so no confidence interval" in found
    assert "There is one seed: no confidence intervals, and no test over seeds." in found
    assert "± sd" not in found


def test_missing_runs_are_said_to_be_missing(page, outcome):
    found = text(page([outcome("0000", 120), outcome("0000", 121), outcome("0011", 121)]))
    assert "Runs are missing (0011 of seed 120)." in found


def test_without_test_data_validation_is_reported(page, outcome):
    validation = {"validation": [RIGHT, WRONG]}
    found = text(page([outcome("0000", counts=validation), outcome("0011", counts=validation)]))
    assert "There are no test data to check it on." in found
    assert "Validation F1 50.00" in found
    assert "Does validation choose well?" not in found


@pytest.mark.parametrize(
    "runs",
    [
        [{"unmask": "0011"}],
        [{"unmask": "0011"}, {"unmask": "1111"}],
        [{"unmask": "0000", "seed": 120}, {"unmask": "0011", "seed": 121}],
        [{"unmask": "0000", "seed": None}, {"unmask": "all", "seed": None}],
        [{"unmask": "0", "curve": []}, {"unmask": "1", "curve": []}],
        [{"unmask": "none"}, {"unmask": "0"}, {"unmask": "all"}, {"unmask": "1"}],
        [{"unmask": unmask, "counts": {"validation": [WRONG, WRONG]}} for unmask in ("0000", "0011")],
        [{"unmask": unmask, "counts": {"validation": [], "test": []}} for unmask in ("0000", "0011")],
        [{"unmask": unmask, "counts": {"validation": [(0, 0, 0)] * 3}} for unmask in ("0000", "0011")],
        [{"unmask": unmask, "train_seconds": 0.0} for unmask in ("0000", "0011")],
    ],
    ids=[
        "one pattern",
        "no causal pattern",
        "no seed in common",
        "no seed at all",
        "one bit, no evaluation",
        "the same layers under two names",
        "every F1 is 0",
        "no sentence",
        "no entity",
        "no time",
    ],
)
def test_sparse_sweeps_have_a_page(page, outcome, runs):
    nesting = Nesting(page([outcome(**run) for run in runs]))
    assert (nesting.open, nesting.wrong) == ([], [])


def test_a_sweep_of_failures_alone_has_a_page(page):
    found = text(page([], [Failure({"unmask": "0011", "seed": 120}, "OSError: disk full", "log.txt")]))
    assert "No run is finished" in found
    assert "unmask 0011, seed 120 OSError: disk full log.txt" in found
    assert "Trials 0 finished, 1 failed" in found


def test_values_of_a_field_are_listed_in_the_order_in_which_they_come():
    settings = [{"unmask": "0011", "seed": 121}, {"unmask": "0011", "seed": 120, "window": None}]
    assert vary(settings) == {"unmask": ["0011"], "seed": ["121", "120"], "window": ["None"]}


def test_a_setting_is_one_line_of_what_is_set():
    assert say_setting({"unmask": "0011", "seed": 120, "cuda": None}) == "unmask 0011, seed 120"
