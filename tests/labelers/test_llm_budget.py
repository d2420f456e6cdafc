"""What the labeler that asks a language model may spend: never more, whatever the server does, and nothing twice."""

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.server import USAGE, Asked, Sent, chat, found, in_turn, labelled, llm, refused, serving

from clinlm.labelers.base import UNANSWERED, LabeledNote, LabelingStopped, Note
from clinlm.labelers.llm_budget import Budget
from clinlm.labelers.llm_prices import Prices, Usage

PRICES = {"prompt_price": 2.0, "completion_price": 10.0, "priced_on": "2025-01-31"}
SHORT: dict[str, Any] = {"prompt": "<note>\n{text}\n</note>", "answer_format": "text", "max_completion_tokens": 50}
"""A request whose worst case is small: the note, 15 bytes around it, 256 tokens of template, 50 of answer."""
WORST = len("<note>\na\n</note>") + 256 + 50


def until_stopped(server: Any, texts: str, **settings: Any) -> tuple[list[LabeledNote], str]:
    """The answers that came, and why no more did; "" where all came."""
    answers = []
    try:
        for one in llm(server, **{**SHORT, **settings}).label([Note(text) for text in texts]):
            answers.append(one)
    except LabelingStopped as error:
        return answers, str(error)
    return answers, ""


def test_a_budget_of_tokens_stops_before_the_request_that_could_exceed_it() -> None:
    limit = 5 * sum(USAGE) + WORST - 1  # after five answers the worst case of a sixth is one token too much
    with serving(in_turn(found())) as server:
        answers, why = until_stopped(server, "a" * 20, max_tokens_total=limit, concurrency=1)
    assert len(answers) == len(server.asked) == 5 and not any(one.failed for one in answers)
    assert "max_tokens_total" in why and f"{limit:,}" in why
    with serving(in_turn(found())) as server:
        assert len(until_stopped(server, "a" * 20, max_tokens_total=limit + 1, concurrency=1)[0]) == 6


def test_a_budget_of_money_stops_too_and_the_rest_is_done_by_starting_again() -> None:
    texts = [f"note {number}" for number in range(12)]
    done: list[LabeledNote] = []
    with serving(lambda asked: found((asked.text, "DISEASE"))) as server:
        runs = 0
        while len(done) < len(texts):
            runs += 1
            labeler = llm(server, **SHORT, **PRICES, max_cost=0.004, concurrency=3)
            try:
                for one in labeler.label([Note(text) for text in texts[len(done) :]]):
                    done.append(one)
            except LabelingStopped as error:
                assert "max_cost" in str(error) and "USD" in str(error)
            assert labeler.prices.cost(labeler.spent) <= 0.004
    assert runs > 1 and len(server.asked) == len(texts)
    assert [one.spans[0].end for one in done] == [len(text) for text in texts]


def test_the_budget_is_that_of_the_labeler_over_all_its_calls() -> None:
    with serving(in_turn(found())) as server:
        labeler = llm(server, **SHORT, max_tokens_total=2 * sum(USAGE) + WORST - 1)
        assert len([*labeler.label([Note("a")]), *labeler.label([Note("b")])]) == 2
        with pytest.raises(LabelingStopped):
            list(labeler.label([Note("c")]))
    assert labeler.spent == Usage(2 * USAGE[0], 2 * USAGE[1])


@given(st.integers(300, 3000), st.integers(1, 6), st.lists(st.sampled_from("gbtx"), min_size=1, max_size=12))
@settings(max_examples=12)
def test_no_answer_that_was_paid_for_is_lost_and_the_limit_holds(limit: int, at_once: int, kinds: list[str]) -> None:
    kind = {"g": found(), "b": chat("{"), "t": refused(500), "x": Sent(b"", None)}
    paid = []
    lock = threading.Lock()

    def answer(asked: Asked) -> Sent:
        sent = kind[kinds[asked.number % len(kinds)]]
        with lock:
            paid.append(sum(USAGE) if sent.body.startswith(b'{"id"') else 0)
        return sent

    with serving(answer) as server:
        answers, why = until_stopped(
            server, "a" * 15, max_tokens_total=limit, concurrency=at_once, attempts=2, give_up_after=99
        )
    broken = sum(sent == "x" for sent in (kinds[n % len(kinds)] for n in range(len(server.asked))))
    told = sum(one.prompt_tokens + one.completion_tokens for one in answers)
    assert sum(paid) <= limit
    assert sum(paid) <= told <= sum(paid) + broken * WORST
    assert why or len(answers) == 15
    assert all(not one.spans for one in answers if one.failed)


def test_notes_that_the_end_overtakes_are_failed_where_later_ones_are_answered() -> None:
    second = threading.Event()

    def answer(asked: Asked) -> Sent:
        if asked.text == "b":
            second.set()
            return found(usage=(400, 20))
        second.wait(5)
        return chat("{", usage=(400, 20))

    with serving(answer) as server:
        answers, why = until_stopped(server, "ab", max_tokens_total=1000, concurrency=2)
    assert why and [one.failed for one in answers] == [UNANSWERED, ""]
    assert [one.prompt_tokens for one in answers] == [400, 400]


def test_time_outs_count_as_spent_in_full_and_refusals_as_free() -> None:
    with serving(in_turn(Sent(b"{}", wait_s=2.0))) as server:
        labeler = llm(server, **SHORT, timeout_s=0.1, attempts=1, max_tokens_total=10_000)
        [one] = labeler.label([Note("a")])
    assert one.failed and labeler.spent.tokens == WORST
    with serving(in_turn(refused(503))) as server:
        labeler = llm(server, **SHORT, attempts=3)
        [one] = labeler.label([Note("a")])
    assert one.failed and labeler.spent.tokens == 0 == one.prompt_tokens


def test_a_server_that_is_not_there_costs_nothing() -> None:
    with serving(in_turn(found())) as server:
        pass
    [one] = labelled(server, "a", **SHORT, attempts=2)
    assert "connection" in one.failed and one.prompt_tokens == 0 and one.retries == 1


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90), st.booleans()), max_size=20), st.integers(1, 300))
def test_reserves_never_add_up_to_more_than_the_limit(requests: list[tuple[int, int, bool]], limit: int) -> None:
    budget, flying = Budget(Prices(), limit, None), []
    for prompt, completion, known in requests:
        worst = Usage(prompt, completion)
        open_tokens = sum(one.tokens for one, _ in flying)
        assert budget.reserve(worst) == (budget.spent.tokens + open_tokens + worst.tokens <= limit)
        if budget.spent.tokens + open_tokens + worst.tokens <= limit:
            flying.append((worst, Usage(prompt // 2, completion) if known else None))
        if len(flying) > 2:
            budget.settle(*flying.pop(0))
    spent = budget.spent.tokens
    for worst, used in flying:
        budget.settle(worst, used)
        spent += (used or worst).tokens
    assert budget.spent.tokens == spent <= limit


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_cost": 1.0}, "prices"),
        ({"max_tokens_total": 0}, "max_tokens_total"),
        ({"prompt_price": 1.0}, "priced_on"),
        ({"prompt_price": 1.0, "priced_on": "yesterday"}, "2025-01-31"),
        ({"prompt_price": -1.0, "priced_on": "2025-01-31"}, ">= 0"),
        ({"concurrency": 0}, "concurrency"),
        ({"attempts": 0}, "attempts"),
        ({"overlap_characters": 6000}, "overlap"),
        ({"prompt": "no place"}, "text"),
        ({"labels": {"A": "x", "a": "y"}}, "differ"),
        ({"extra": {"n": 2}}, "n"),
        ({"answer_format": "xml"}, "json_schema"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ],
)
def test_settings_out_of_their_range_are_refused(wrong: dict[str, Any], message: str) -> None:
    with serving(in_turn(found())) as server, pytest.raises(ValueError, match=message):
        llm(server, **wrong)
