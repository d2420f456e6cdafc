"""The labeler that asks a language model, against a real HTTP server with every awkward answer."""

import json
import logging
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from support.server import USAGE, Asked, Sent, chat, found, in_turn, labelled, llm, refused, serving

from clinlm.config.errors import ConfigError
from clinlm.labelers.base import LabelingStopped, Note
from clinlm.labelers.llm import Llm
from clinlm.terminology.spans import Span, flatten

TEXT = "Metformin for diabetes. Denies chest pain; given metformin."
GOOD = found(("Metformin", "MEDICATION"), ("diabetes", "DISEASE"), ("chest pain", "SYMPTOM"))
SPANS = (Span(0, 9, "MEDICATION"), Span(14, 22, "DISEASE"), Span(31, 41, "SYMPTOM"))


def test_an_answer_becomes_spans_and_the_request_is_of_the_protocol() -> None:
    with serving(in_turn(GOOD)) as server:
        [one] = labelled(server, TEXT)
    assert one.spans == SPANS and not one.failed
    assert (one.prompt_tokens, one.completion_tokens, one.retries, one.invented) == (*USAGE, 0, 0)
    assert one.seconds > 0
    [asked] = server.asked
    assert asked.path == "/v1/chat/completions" and asked.text == TEXT and asked.body["model"] == "tiny"
    assert all(label in asked.prompt for label in ("MEDICATION", "DISEASE", "SYMPTOM"))
    form = asked.body["response_format"]["json_schema"]
    assert form["strict"] and "entities" in form["schema"]["properties"]
    assert asked.body["max_completion_tokens"] == 4096 and not asked.body.get("stream")


@pytest.mark.parametrize(("way", "sent"), [("json_object", {"type": "json_object"}), ("text", None)])
def test_servers_without_structured_output(way: str, sent: object) -> None:
    fenced = chat('<think>a {"b"}</think>\n```json\n{"entities": [{"text": "diabetes", "label": "disease"}]}\n```')
    with serving(in_turn(fenced)) as server:
        [one] = labelled(server, TEXT, answer_format=way, limit_name="max_tokens", temperature=None, seed=None)
    assert one.spans == (SPANS[1],)
    body = server.asked[0].body
    assert body.get("response_format") == sent and body["max_tokens"] == 4096
    assert not {"max_completion_tokens", "temperature", "seed"} & set(body)


BROKEN = {
    "truncated": chat('{"entities": [{"text": "diab'),
    "a list": chat('[{"text": "diabetes", "label": "DISEASE"}]'),
    "another key": chat('{"found": []}'),
    "no label": chat('{"entities": [{"text": "diabetes"}]}'),
    "a number": chat('{"entities": [{"text": 3, "label": "DISEASE"}]}'),
    "place 0": chat('{"entities": [{"text": "pain", "label": "SYMPTOM", "occurrence": 0}]}'),
    "nested too deep": chat("[" * 100_000),
    "empty": chat(""),
    "null": chat(None),
    "a refusal": chat('{"entities": []}', refusal="I cannot"),
    "no choice": Sent(b'{"choices": []}'),
    "no JSON": Sent(b"<html>SECRET</html>", headers={"Content-Type": "text/html"}),
    "half a body": Sent(b'{"choices": [{"mess'),
    "429": refused(429),
    "500": refused(500),
    "503": refused(503, Retry_After="0.02"),
    "broken connection": Sent(b"", None),
    "time-out": Sent(b"{}", wait_s=3.0),
    "slow body": Sent(GOOD.body, drops=60, drop_s=0.05),
}
LATE = {"time-out", "slow body"}


@pytest.mark.parametrize("name", BROKEN)
def test_what_goes_wrong_once_is_asked_again(name: str) -> None:
    with serving(in_turn(BROKEN[name], GOOD)) as server:
        [one] = labelled(server, TEXT, timeout_s=0.8 if name in LATE else 20.0)
    assert one.spans == SPANS and not one.failed
    assert one.retries == 1 or name in LATE  # on a busy machine a good answer may be late too
    assert len(server.asked) == one.retries + 1 >= 2


@pytest.mark.parametrize("name", BROKEN)
def test_what_goes_wrong_every_time_is_counted_and_not_silent(name: str) -> None:
    with serving(lambda asked: BROKEN[name] if asked.text == "bad" else found()) as server:
        bad, good = labelled(server, "bad", "good", attempts=2, timeout_s=0.5 if name in LATE else 20.0)
    assert bad.failed and bad.spans == () and bad.retries == 1
    assert (not good.failed or name in LATE) and good.spans == ()
    assert sum(asked.text == "bad" for asked in server.asked) == 2
    assert "SECRET" not in bad.failed


def test_a_malformed_answer_is_paid_for_and_asked_again_with_another_seed() -> None:
    with serving(in_turn(BROKEN["truncated"], BROKEN["truncated"], GOOD)) as server:
        [one] = labelled(server, TEXT)
    assert (one.prompt_tokens, one.completion_tokens) == (3 * USAGE[0], 3 * USAGE[1])
    assert [asked.body["seed"] for asked in server.asked] == [0, 1, 2]
    assert [asked.body["temperature"] for asked in server.asked] == [0, 0.5, 0.5]


def test_a_request_that_the_server_finds_wrong_is_not_repeated() -> None:
    with serving(lambda asked: refused(400) if asked.text == "bad" else found()) as server:
        bad, good = labelled(server, "bad", "good")
    assert "400" in bad.failed and bad.retries == 0 and not good.failed
    assert len(server.asked) == 2


@pytest.mark.parametrize("way", ["retry_after_ms", "retry_after", "date"])
def test_retry_after_is_waited_for_by_all(way: str) -> None:
    told = {
        "retry_after_ms": {"retry_after_ms": "80"},
        "retry_after": {"retry_after": "0.08"},
        "date": {"retry_after": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)},
    }[way]
    times: list[float] = []

    def answer(asked: Asked) -> Sent:
        times.append(time.monotonic())
        return refused(429, **told) if asked.number == 0 else found()

    with serving(answer) as server:
        answers = labelled(server, "a", "b", "c", max_wait_s=3.0, concurrency=1)
    assert [one.retries for one in answers] == [1, 0, 0]
    assert times[1] - times[0] >= (0.08 if way != "date" else 0.5)


def test_a_server_that_asks_for_more_patience_than_there_is_fails_the_note() -> None:
    with serving(in_turn(refused(429, Retry_After="3600"), found())) as server:
        first, second = labelled(server, "a", "b", concurrency=1)
    assert "3600" in first.failed and not second.failed


def test_notes_that_fail_one_after_another_end_the_run() -> None:
    with serving(in_turn(found(), refused(500))) as server, pytest.raises(LabelingStopped, match="500"):
        labelled(server, *"abcdefgh", attempts=1, give_up_after=3, concurrency=1)
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404])
def test_what_no_note_would_survive_ends_the_run(status: int) -> None:
    with serving(in_turn(found())) as elsewhere, serving(lambda asked: refused(status, Location=away)) as server:
        away = f"{elsewhere.url}/chat/completions"
        with pytest.raises(ValueError, match=str(status)) as caught:
            labelled(server, *"abcdefgh", concurrency=2)
    assert len(server.asked) <= 2 and elsewhere.asked == []
    assert "SECRET" not in str(caught.value)


def test_a_quota_that_is_used_up_ends_the_run() -> None:
    with serving(in_turn(found(), refused(429, "insufficient_quota"))) as server:
        answers = llm(server, concurrency=1).label([Note(text) for text in "abc"])
        assert not next(answers).failed
        with pytest.raises(LabelingStopped, match="insufficient_quota"):
            next(answers)
    assert len(server.asked) == 2


def test_the_order_of_the_notes_is_kept_and_no_more_are_asked_at_once_than_said() -> None:
    texts = [f"drug{number} given" for number in range(40)]
    together = threading.Barrier(5)

    def answer(asked: Asked) -> Sent:
        name = asked.text.split()[0]
        if asked.number < 5:
            together.wait(timeout=20)
        return found((name, "MEDICATION"), wait_s=0.001 * (7 * asked.number % 11))

    # drug1 is two words, drug and 1; both are in the span.
    with serving(answer) as server:
        answers = labelled(server, *texts, concurrency=5)
    assert [one.spans for one in answers] == [(Span(0, len(text.split()[0]), "MEDICATION"),) for text in texts]
    assert server.most == 5


def test_shared_seconds_add_up_to_the_time_of_the_run() -> None:
    with serving(lambda asked: found(wait_s=0.02)) as server:
        began = time.perf_counter()
        answers = labelled(server, *"abcdefgh", concurrency=4)
        took = time.perf_counter() - began
    assert 0.04 <= sum(one.seconds for one in answers) <= took


def test_a_long_note_is_sent_in_pieces_and_merged_without_doubles() -> None:
    sentence = "Given aspirin for gout today. "
    text = sentence * 30

    def answer(asked: Asked) -> Sent:
        assert len(asked.text) <= 200
        return found(("aspirin", "MEDICATION"), ("gout", "DISEASE"))

    with serving(answer) as server:
        [one] = labelled(server, text, chunk_characters=200, overlap_characters=60)
    assert len(server.asked) > 30 * len(sentence) // 200
    starts = range(0, len(text), len(sentence))
    wanted = [
        span for at in starts for span in (Span(at + 6, at + 13, "MEDICATION"), Span(at + 18, at + 22, "DISEASE"))
    ]
    assert one.spans == tuple(wanted) == tuple(flatten(one.spans))


def test_a_note_of_which_a_piece_fails_fails_and_the_rest_is_not_paid_for() -> None:
    with serving(in_turn(found(), BROKEN["truncated"])) as server:
        [one] = labelled(server, "x " * 300, chunk_characters=100, overlap_characters=10, attempts=2)
    assert one.failed and one.spans == () and len(server.asked) == 3
    assert one.prompt_tokens == 3 * USAGE[0]


def test_invented_entities_and_foreign_labels_are_left_out_and_counted() -> None:
    named = found(("diabetes", "DISEASE"), ("aspirin", "MEDICATION"), ("tform", "MEDICATION"), ("chest pain", "PERSON"))
    with serving(in_turn(named)) as server:
        labeler = llm(server)
        [one] = labeler.label([Note(TEXT)])
    assert one.spans == (SPANS[1],) and one.invented == 2
    assert [notice.split()[0] for notice in labeler.notices] == ["1"]


def test_usage_that_is_not_told_is_estimated_and_that_is_said() -> None:
    with serving(in_turn(found(usage=None))) as server:
        labeler = llm(server)
        [one] = labeler.label([Note(TEXT)])
    prompt = server.asked[0].prompt
    assert one.prompt_tokens == -(-len(prompt.encode()) // 4) and one.completion_tokens > 0
    assert "estimated" in labeler.notices[0]
    assert labeler.spent.prompt_tokens >= len(prompt)


def test_blank_notes_and_no_notes_ask_nothing() -> None:
    with serving(in_turn(GOOD)) as server:
        assert [one.spans for one in labelled(server, " \n", "")] == [(), ()]
        assert labelled(server) == []
    assert server.asked == []


def test_a_lone_surrogate_is_no_reason_to_fail() -> None:
    with serving(in_turn(GOOD)) as server:
        [one] = labelled(server, TEXT + " \ud800")
    assert one.spans == SPANS


def test_a_reader_who_stops_early_leaves_nothing_behind() -> None:
    with serving(lambda asked: found(wait_s=0.01)) as server:
        before = threading.active_count()
        answers = llm(server, concurrency=2).label([Note("a")] * 1000)
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert not any(thread.name == "clinlm-llm" for thread in threading.enumerate())
        assert len(server.asked) <= 1 + 2 * 2 + 2
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:  # the server's own threads end by and by
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_an_interrupted_run_does_not_wait_for_its_requests() -> None:
    release = threading.Event()

    def answer(asked: Asked) -> Sent:
        if asked.text != "first":  # the number would do only if requests arrived in the order they are sent
            release.wait(20)
        return found()

    with serving(answer) as server:
        answers = llm(server, concurrency=2).label([Note("first"), *[Note("a")] * 8])
        next(answers)
        while not server.now:
            time.sleep(0.01)
        answers.close()  # type: ignore[attr-defined]
        assert server.now, "the requests are still under way"
        release.set()


def test_no_text_and_no_key_in_logs_errors_and_reprs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", "sk-hidden")
    caplog.set_level(logging.DEBUG)
    answers = [Sent(f'{{"x": "{TEXT}"}}'.encode(), status) for status in (400, 429, 500, 200)]
    with serving(in_turn(*answers, Sent(b"", None), Sent(TEXT.encode(), 401))) as server:
        labeler = llm(server, api_key_variable="KEY_OF_A_TEST", attempts=4, concurrency=1)
        told = [repr(labeler), str(labeler.fingerprint())]
        with pytest.raises(ValueError, match="401") as caught:
            for one in labeler.label([Note(TEXT)] * 4):
                told.append(repr(one))
    assert server.asked[0].headers["authorization"] == "Bearer sk-hidden"
    error: BaseException | None = caught.value
    while error is not None:
        told.append(repr(error))
        error = error.__cause__ or error.__context__
    told += [caplog.text, *capfd.readouterr()]
    assert len(told) > 4 and not any("Metformin" in one or "sk-hidden" in one for one in told)


def test_the_key_is_where_it_belongs_or_the_labeler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(in_turn(found())) as server:
        labeler = llm(server, api_key_variable="KEY_OF_A_TEST")
        for value in ("", "two words", "schlüssel"):
            monkeypatch.setenv("KEY_OF_A_TEST", value)
            with pytest.raises(ValueError, match="KEY_OF_A_TEST") as caught:
                list(labeler.label([Note("a")]))
            assert not value or value not in str(caught.value)
        assert server.asked == []


def test_the_fingerprint_follows_what_changes_answers_and_nothing_else() -> None:
    def key(**settings: object) -> str:
        return Llm(**{"base_url": "http://127.0.0.1:1/v1", "model": "m", **settings}).fingerprint()  # type: ignore[arg-type]

    same = [{"concurrency": 2}, {"attempts": 9}, {"max_tokens_total": 5}, {"timeout_s": 1.0}, {"api_key_variable": "K"}]
    assert {key(**one) for one in same} == {key()}
    other = [{"model": "n"}, {"labels": {"X": "y"}}, {"prompt": "{text}"}, {"chunk_characters": 900}, {"seed": 1}]
    assert len({key(), *(key(**one) for one in other), key(base_url="http://127.0.0.1:2/v1")}) == len(other) + 2


def error(message: str = "SECRET", status: int = 400, **told: object) -> Sent:
    return Sent(json.dumps({"error": {"message": message, **told}}).encode(), status)


@pytest.mark.parametrize(
    ("sent", "settings", "told"),
    [
        (
            error(param="temperature", code="unsupported_value"),
            {},
            "unsupported_value.; set .*temperature=null",
        ),
        (
            error(param="response_format.type", code=None),
            {},
            "response_format .*set .*answer_format=json_o",
        ),
        (error("SECRET: 'response_format' is unknown"), {}, "parameter response_format .*answer_format=text"),
        (
            error("'max_completion_tokens' SECRET", 422),
            {},
            "tokens .status 422.; .*limit_name=max_t",
        ),
        (error(param="reasoning_effort"), {"extra": {"reasoning_effort": "low"}}, "remove reasoning_effort from extra"),
    ],
)
def test_a_refused_parameter_ends_the_run_and_names_its_setting(
    sent: Sent, settings: dict[str, Any], told: str
) -> None:
    with serving(in_turn(sent)) as server, pytest.raises(ConfigError, match=told) as caught:
        labelled(server, TEXT, **settings)
    assert "SECRET" not in str(caught.value) and len(server.asked) == 1


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (
            error(param="messages", code="context_length_exceeded"),
            "context.* lower chunk_characters",
        ),
        (error("This model's maximum context length is 10 tokens. SECRET"), "do not fit the context"),
        (error("SECRET about temperature and seed"), r"refused the request \(status 400\)"),
        (error(param="messages", code="SECRET text"), r"refused the request \(status 400\)"),
        (Sent(b"SECRET", 400), r"refused the request \(status 400\)"),
    ],
)
def test_a_refused_note_fails_with_the_reason(sent: Sent, told: str) -> None:
    with serving(in_turn(sent, GOOD)) as server:
        [bad, good] = labelled(server, TEXT, TEXT, concurrency=1)
    assert re.search(told, bad.failed) and "SECRET" not in bad.failed and good.spans == SPANS
