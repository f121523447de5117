"""Dead letters are read whole, judged soberly, and sent back once: whoever else tries, whenever it ends."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from streamer.adapters.dead_letters import (
    Letter,
    LetterLog,
    LettersError,
    Mark,
    Place,
    Wanted,
    address_of,
    listing,
)
from streamer.adapters.kafka import producer_config
from streamer.adapters.redrive import RedriveError, Redriver, Sent, outcomes, plan
from streamer.adapters.topics import Topics
from streamer.domain.events import Reason
from streamer.home import home
from tests.adapters.letters import FIRST, LABELS, Unreadable, bad, post, prediction
from tests.conftest import TopicsFactory
from tests.domain.feed import START_MS
from tests.e2e.oracle import committed

ALL = Wanted()


class Post:
    """A set of topics with dead letters in it, and short ways to ask and to redrive."""

    def __init__(self, bootstrap: str, names: Topics) -> None:
        self.bootstrap, self.names = bootstrap, names
        self.base = {"bootstrap.servers": bootstrap}

    def log(self) -> LetterLog:
        return LetterLog(self.base, self.names)

    def letters(self) -> dict[str, Letter]:
        """By their values, as text."""
        return {each.value.decode(): each for each in self.log().read() if isinstance(each, Letter)}

    def marks(self) -> list[Mark]:
        return [each for each in self.log().read() if isinstance(each, Mark)]

    def source(self, partition: int, kind: int = 0) -> list[Any]:
        return committed(self.bootstrap, (self.names.predictions, self.names.labels)[kind], partition)

    def redrive(self, wanted: Wanted = ALL, again: bool = False) -> list[Sent]:
        log = self.log()
        found = plan(log, wanted, again)
        redriver = Redriver(self.base, log)
        redriver.open(found)
        return [each for batch in redriver.send(found) for each in batch]


@pytest.fixture
def mail(bootstrap: str, topics: TopicsFactory) -> Post:
    return Post(bootstrap, topics(2))


def elsewhere(partition: int) -> str:
    """A model whose home is the other one of two partitions."""
    return next(f"model {n}" for n in range(99) if home(f"model {n}", 2) != partition)


# -- reading ---------------------------------------------------------------------------------------


def test_a_letter_tells_what_it_was_and_where_it_came_from(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 1, [bad(7, b'{"model": "churn"', b"churn")], LABELS)
    [letter] = mail.letters().values()
    assert (letter.address, letter.reason, letter.value) == ((1, 0), "undecodable", b'{"model": "churn"')
    assert letter.source == Place(mail.names.labels, 1, FIRST + 7)
    assert (letter.time_ms, letter.model, letter.key) == (START_MS, "churn", b"churn")
    assert mail.log().obstacle(letter) is None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ALL, {"a", "b", "c"}),
        (Wanted(reason="undecodable"), {"a", "c"}),
        (Wanted(reason="misplaced"), set()),
        (Wanted(model="m"), {"a"}),
        (Wanted(model="named"), {"b"}),
        (Wanted(topic="labels"), {"c"}),
        (Wanted(since_ms=START_MS + 1), {"b", "c"}),
        (Wanted(until_ms=START_MS + 1), {"a"}),
        (Wanted(since_ms=START_MS + 1, until_ms=START_MS + 2), {"b"}),
        (Wanted(addresses=frozenset({(0, 0), (1, 0)})), {"a", "c"}),
    ],
)
def test_letters_are_chosen_by_reason_model_topic_time_and_address(
    wanted: Wanted, found: set[str], mail: Post
) -> None:
    named = prediction("1", "named", timestamp="yesterday", note="b")
    post(mail.bootstrap, mail.names, 0, [bad(0, b"a"), bad(1, named, at=START_MS + 1)], partitions=1)
    post(mail.bootstrap, mail.names, 1, [bad(0, b"c", b"x", START_MS + 2)], LABELS)
    assert {each[:1] if len(each) == 1 else "b" for each in _values(mail, wanted)} == found


def _values(mail: Post, wanted: Wanted) -> list[str]:
    return [text for text, letter in mail.letters().items() if wanted.has(letter)]


def test_a_listing_keeps_the_newest_and_counts_all(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(n, b"%d" % n, at=START_MS + n) for n in range(5)])
    post(mail.bootstrap, mail.names, 1, [bad(n, None, at=START_MS + 10 * n) for n in range(3)])
    mail.redrive(Wanted(addresses=frozenset({(0, 4)})))
    found = listing(mail.log(), ALL, 3)
    assert [(row.address, row.time_ms - START_MS) for row in found.rows] == [
        ((0, 4), 4),
        ((1, 1), 10),
        ((1, 2), 20),
    ]
    assert [row.redriven_to for row in found.rows] == [Place(mail.names.predictions, 0, 0), None, None]
    objects, empty = ("not_an_object", "predictions"), ("tombstone", "predictions")
    assert found.found == {objects: 5, empty: 3}
    assert (found.redriven[objects], found.open[objects], found.open[empty]) == (1, 4, 0)


def test_whatever_is_in_the_topic_can_be_read(mail: Post) -> None:
    producer = Producer(mail.base)
    odd: list[list[tuple[str, Any]]] = [
        [],
        [("reason", None)],
        [("reason", b"\xff"), ("topic", b"state"), ("partition", b"-1"), ("offset", b"x")],
        [("reason", b"oversized"), ("topic", b"\x1b[2J"), ("partition", b"9" * 400), ("offset", b"1")],
        [("redriven", b"nothing"), ("to-topic", b"p"), ("to-partition", b"1"), ("to-offset", b"1")],
        [("redriven", b"0:0")],
        [("reason", b"undecodable"), ("reason", b"misplaced"), ("timestamp", b"9" * 400)],
    ]
    for headers in odd:
        producer.produce(mail.names.dead_letters, b"\x00", b"\xff", 0, headers=headers)
    assert producer.flush(10) == 0
    found = list(mail.log().read())
    assert all(isinstance(each, Letter) and each.source is None for each in found)
    assert len(found) == len(odd)
    assert plan(mail.log(), ALL).hopeless.total() == len(odd)


def test_one_letter_is_found_with_what_became_of_it_or_said_not_to_be_there(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(0), bad(1)])
    mail.redrive(Wanted(addresses=frozenset({(0, 1)})))
    assert mail.log().find((0, 0))[1] is None
    letter, mark = mail.log().find((0, 1))
    assert mark is not None
    assert (letter.source, mark.to.partition) == (Place(mail.names.predictions, 0, FIRST + 1), 0)
    for nowhere in ((0, 99), (1, 0), (7, 0)):
        with pytest.raises(LettersError, match="no dead letter"):
            mail.log().find(nowhere)
    with pytest.raises(LettersError, match="says that 0:1 was redriven"):
        mail.log().find(mark.address)


@pytest.mark.parametrize("text", ["", "3", "3:", ":1", "a:1", "3:-1", "3:1:2", "³:1"])
def test_an_address_is_a_partition_and_an_offset(text: str) -> None:
    assert address_of("3:17") == (3, 17)
    with pytest.raises(ValueError, match="PARTITION:OFFSET"):
        address_of(text)


# -- what can be sent ------------------------------------------------------------------------------


def test_what_cannot_be_sent_is_counted_with_the_reason(mail: Post) -> None:
    records = [
        bad(0, None),
        bad(1, b"x" * 60),
        bad(2, b"{", b"k" * 5_000),
        bad(3),
        Unreadable(4, 9, START_MS),
    ]
    assert post(mail.bootstrap, mail.names, 0, records, max_dead_letter=50) == 5
    found = plan(mail.log(), ALL)
    assert found.chosen == {(0, 3)}
    assert sorted(found.hopeless.values()) == [1, 1, 2]
    text = " ".join(found.hopeless)
    assert "no value" in text
    assert "too large" in text
    assert "no bytes" in text


def test_a_forged_letter_cannot_make_the_operator_write_elsewhere(mail: Post) -> None:
    """WRITE on dead letters must not become WRITE on state."""
    post(mail.bootstrap, mail.names, 0, [bad(0)])
    [true] = mail.letters().values()
    producer = Producer(mail.base)
    for change in ({"topic": mail.names.state}, {"topic": "__consumer_offsets"}, {"partition": "7"}):
        headers: dict[str, Any] = {**true.headers, **change}
        producer.produce(mail.names.dead_letters, b"forged", b"", 0, headers=headers)
    assert producer.flush(10) == 0
    assert len(mail.redrive()) == 1
    assert committed(mail.bootstrap, mail.names.state, 0) == []
    assert [each.value() for each in mail.source(0)] == [b"{"]


# -- sending ---------------------------------------------------------------------------------------


def test_the_original_bytes_go_back_under_the_original_key_and_the_letter_is_marked(mail: Post) -> None:
    values = [b"{", b"\xff\x00", b"[]", b""]
    post(mail.bootstrap, mail.names, 0, [bad(n, value, b"k%d" % n) for n, value in enumerate(values)])
    post(mail.bootstrap, mail.names, 1, [bad(0, b"label", None)], LABELS)
    sent = mail.redrive()
    assert [(each.key(), each.value()) for each in mail.source(0)] == [
        (b"k%d" % n, value) for n, value in enumerate(values)
    ]
    assert [(each.key(), each.value()) for each in mail.source(1, LABELS)] == [(None, b"label")]
    places = {each.letter: each.to for each in sent}
    assert places == {each.letter: each.to for each in mail.marks()}
    assert places[0, 2] == Place(mail.names.predictions, 0, 2)
    assert places[1, 0] == Place(mail.names.labels, 1, 0)


def test_a_misplaced_letter_goes_to_the_home_of_its_model(mail: Post) -> None:
    model = elsewhere(0)
    post(mail.bootstrap, mail.names, 0, [bad(0, prediction("1", model), b"wrong key")])
    [letter] = mail.letters().values()
    assert letter.reason == Reason.MISPLACED
    [sent] = mail.redrive()
    assert sent.to == Place(mail.names.predictions, 1, 0)
    assert mail.source(0) == []
    assert [(each.key(), each.value()) for each in mail.source(1)] == [(b"wrong key", letter.value)]


def test_a_letter_is_sent_once_however_often_it_is_asked_for(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(n) for n in range(3)])
    named = Wanted(addresses=frozenset({(0, 1)}))
    assert len(mail.redrive(named)) == 1
    assert len(mail.redrive()) == 2
    for again in (False, True):
        assert mail.redrive(again=again) == mail.redrive(named, again) == []
    assert len(mail.source(0)) == 3


def test_letters_that_came_of_a_redrive_wait_until_they_are_asked_for(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(0)])
    [first] = mail.redrive()
    post(mail.bootstrap, mail.names, 0, [bad(first.to.offset - FIRST)])  # dead again
    found = plan(mail.log(), ALL)
    assert (found.chosen, found.redriven, found.again) == (set(), 1, 1)
    second = max(letter.address for letter in mail.log().read() if isinstance(letter, Letter))
    assert plan(mail.log(), ALL, again=True).chosen == {second}
    assert plan(mail.log(), Wanted(addresses=frozenset({second}))).chosen == {second}


def test_what_was_half_sent_when_a_redriver_died_is_taken_back_and_sent_once(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(n) for n in range(4)])
    log = mail.log()
    found = plan(log, ALL)
    dead = Redriver(mail.base, log)
    dead.open(found)
    letters = list(dead._chosen(found))
    dead._producer.begin_transaction()
    dead._mark(letters, dead._send_back(letters))  # all is in the logs, and nothing is committed
    assert len(mail.redrive()) == 4
    assert len(mail.source(0)) == len(mail.marks()) == 4
    with pytest.raises(RedriveError, match="another redrive"):
        dead._until_answered(dead._producer.commit_transaction, "")
    assert len(mail.source(0)) == len(mail.marks()) == 4


def test_of_two_redrivers_the_later_one_sends(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(n) for n in range(4)])
    log = mail.log()
    one, other = Redriver(mail.base, log), Redriver(mail.base, log)
    of_one, of_other = plan(log, ALL), plan(log, ALL)
    one.open(of_one)
    other.open(of_other)
    with pytest.raises(RedriveError, match="another redrive"):
        list(one.send(of_one))
    assert len([each for batch in other.send(of_other) for each in batch]) == 4
    assert len(mail.source(0)) == 4


def test_what_another_redriver_sent_since_the_plan_is_not_sent_again(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(n) for n in range(4)])
    log = mail.log()
    early = plan(log, ALL)
    mail.redrive(Wanted(addresses=frozenset({(0, 0), (0, 1)})))
    late = Redriver(mail.base, log)
    late.open(early)
    assert (len(early.chosen), early.redriven) == (2, 2)
    assert {each.letter for batch in late.send(early) for each in batch} == {(0, 2), (0, 3)}
    assert len(mail.source(0)) == 4


def test_a_mark_behind_a_transaction_that_a_worker_has_open_is_waited_for(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(0)])
    log = mail.log()
    found = plan(log, ALL)
    redriver = Redriver(mail.base, log)
    redriver.open(found)
    worker = Producer(producer_config(mail.base, f"{mail.names.dead_letters}-worker"))
    worker.init_transactions(10)
    worker.begin_transaction()
    worker.produce(mail.names.dead_letters, b"open", b"", 0)
    assert worker.flush(10) == 0
    assert len(list(redriver.send(found))) == 1  # its mark is hidden from whoever reads what is stable
    reading = threading.Event()

    class Watched(LetterLog):
        def read(self, *arguments: Any, **named: Any) -> Iterator[Letter | Mark]:
            for each in super().read(*arguments, **named):
                reading.set()
                yield each

    with ThreadPoolExecutor(1) as pool:
        planned = pool.submit(plan, Watched(mail.base, mail.names), ALL)
        assert reading.wait(20)
        worker.abort_transaction(10)
        assert (planned.result(30).chosen, planned.result().redriven) == (set(), 1)


def test_a_redrive_of_many_is_cut_into_transactions_and_may_be_ended_between_them(
    mail: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.adapters.redrive.BATCH_LETTERS", 3)
    post(mail.bootstrap, mail.names, 0, [bad(n) for n in range(8)])
    log = mail.log()
    found = plan(log, ALL)
    redriver = Redriver(mail.base, log)
    redriver.open(found)
    answers = iter((True, True, False))
    assert [len(batch) for batch in redriver.send(found, lambda: next(answers))] == [3, 3]
    assert len(mail.redrive()) == 2
    assert Counter(each.letter for each in mail.marks()) == Counter({(0, n): 1 for n in range(8)})


# -- what became of them ---------------------------------------------------------------------------


def test_what_became_of_a_letter_is_read_from_the_group_and_the_letters_that_followed(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(0), bad(1)])
    post(mail.bootstrap, mail.names, 1, [bad(0)])
    log = mail.log()
    found = plan(log, ALL)
    sent = mail.redrive()
    group = f"{mail.names.predictions}-group"
    became = outcomes(mail.base, group, log, sent, found.ends, 0.0)
    assert (became.taken, became.dead, len(became.waiting)) == ([], [], 3)
    # A worker takes both records of partition 0, and one of them is a dead letter again.
    post(mail.bootstrap, mail.names, 0, [bad(1 - FIRST)])
    member = Consumer({**mail.base, "group.id": group})
    member.commit(offsets=[TopicPartition(mail.names.predictions, 0, 2)], asynchronous=False)
    member.close()
    became = outcomes(mail.base, group, log, sent, found.ends, 0.0)
    assert [each.letter for each in became.taken] == [(0, 0)]
    [(again, letter)] = became.dead
    assert (again.letter, letter.reason, letter.source) == ((0, 1), "undecodable", again.to)
    assert [each.letter for each in became.waiting] == [(1, 0)]


def test_an_address_that_is_not_there_is_an_error_before_anything_is_sent(mail: Post) -> None:
    post(mail.bootstrap, mail.names, 0, [bad(0)])
    with pytest.raises(LettersError, match="0:5, 1:0"):
        plan(mail.log(), Wanted(addresses=frozenset({(0, 0), (0, 5), (1, 0)})))
