"""Payloads from valid to hopeless, the same for the same seed: what anybody might write to the sources."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from streamer.pipeline import LABELS, PREDICTIONS

Members = list[tuple[str, str]]
FLOOD = 10_000
FIELDS = ("prediction_id", "model", "timestamp", "prediction", "label", "version", "score", "scores",
          "features", "latency_ms", "segments", "meta", "inferenceId")  # fmt: skip
MODELS = ("binary", "square", "kinds", "foreign", "new", "newer", "other")
# JSON as text, so that what no encoder would write can be told too.
TOKENS = (
    "null", "true", "false", "0", "-0", "-0.0", "1", "-1", "2", "0.5", "1.0", "1e-320", "5e-324", "1e308",
    "-1e308", "1e999", "-1e999", "1e-999", "9007199254740993", "9223372036854775807", "9223372036854775808",
    "18446744073709551615", "18446744073709551616", "-9223372036854775809", "9" * 400, "0." + "3" * 400,
    "1" + "0" * 99, "1e100", "-1e100", "NaN", "Infinity", "-Infinity", "+1", "01", "1.", ".5", "0x10",
    "1_000", '""', '" "', '"x"', '"1"', '"true"', '"yes"', '"no"', '"other"', '"nan"', '"1e999"', '"expired"',
    '"' + "x" * 256 + '"', '"' + "x" * 257 + '"', '"' + "\u00e9" * 150 + '"', '"' + "\U0001f600" * 60 + '"',
    '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\u202e"', '"\\u001b[31m"', '"a\\nb"', '"\\r\\n# HELP"',
    '"\u2028"', '"{\\"a\\":1}"', "[]", "[1]", "[[]]", '["v"]', "{}", '{"a":1}', '{"1":0.9,"0":0.1}',
    '{"1":2}', '{"":null}', "[1,2,", "{", "'1'", "undefined", "",
)  # fmt: skip
YEARS = (1, 2, 999, 1582, 1900, 1969, 1970, 1973, 2000, 2024, 2026, 2038, 2262, 2286, 9998, 9999)
ZONES = ("", "Z", "z", "+00:00", "-00:00", "+14:00", "-14:00", "+23:59", "-23:59", "+24:00", "+0530", " UTC")
DEPTHS = (1, 8, 200, 1_000, 1_023, 1_024, 1_025, 5_000, 100_000)
KEYS: tuple[bytes | None, ...] = (
    None, b"", b"binary", b"new", b"away", b"\xff\xfe", b"\x00", b"\x1b[2J", b"a\nb", b"k" * 5_000,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Payload:
    """One record to be. ``kind``: predictions or labels, which may be the wrong one for it."""

    kind: int
    key: bytes | None
    value: bytes | None


class Forge:
    """An endless source of payloads; ``chance`` decides all of them."""

    def __init__(self, chance: random.Random, models: tuple[str, ...] = MODELS, ids: int = 400) -> None:
        self.chance, self.models, self.ids = chance, models, ids
        self._last = b"{}"
        self._names = self._made = 0

    def payload(self, at: int) -> Payload:
        """The next one. ``at``: about the time in ms at which it will be in the log."""
        chance = self.chance
        kind = chance.choice((PREDICTIONS, LABELS))
        members = self._prediction(at) if kind == PREDICTIONS else self._label(at)
        key: bytes | None = b"binary" if chance.random() < 0.9 else chance.choice(KEYS)
        if chance.random() < 0.01:
            kind = 1 - kind
        luck = chance.random()
        if luck < 0.45:
            return Payload(kind, key, self._rendered(members))
        if luck < 0.46:
            return Payload(kind, key, None)
        if luck < 0.49:
            return Payload(kind, key, self._noise())
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            chance.choices(_MUTATIONS, _WEIGHTS)[0](self, members, at)
        value = self._rendered(members)
        if luck > 0.85:
            value = self._damaged(value)
        self._last = value[:4_000] or b"{}"
        return Payload(kind, key, value)

    def flood(self, at: int, count: int = FLOOD) -> Iterator[Payload]:
        """``count`` new models, and as many new versions, classes and features of one: two payloads each."""
        for number in range(self._names, self._names + count):
            event = {"prediction_id": f"f{number}", "timestamp": at, "model": f"model {number}"}
            kind = self.chance.choice((PREDICTIONS, LABELS))
            answer = {"prediction": 1} if kind == PREDICTIONS else {"label": 1}
            yield Payload(kind, b"flood", json.dumps(event | answer).encode())
            features = {f"n{number}": 1.5, "colour": f"shade {number}"}
            more = {"version": f"v{number}", "prediction": f"class {number}", "features": features}
            yield Payload(PREDICTIONS, b"flood", json.dumps(event | {"model": "newest"} | more).encode())
        self._names += count

    # -- valid ones ---------------------------------------------------------------------

    def _number(self, fresh: float) -> int:
        """Of a prediction, new with probability ``fresh`` or recent: its id, which says whose it is."""
        if self.chance.random() < fresh:
            self._made += 1
            return self._made
        return max(0, self._made - self.chance.randrange(self.ids))

    def _prediction(self, at: int) -> Members:
        chance = self.chance
        number = self._number(0.9)
        model = self.models[number % len(self.models)]
        found = [*self._who(number, model, at), ("prediction", self._answer(model))]
        if chance.random() < 0.7:
            found.append(("version", chance.choice(('"a"', '"b"', "7", "null", '""'))))
        luck = chance.random()
        if luck < 0.5:
            found.append(("score", repr(chance.random())))
        elif luck < 0.6:
            found.append(("scores", chance.choice(('{"1":0.75,"0":0.25}', '{"a":0.5,"b":0.25}'))))
        if chance.random() < 0.4:
            found.append(("features", self._features(chance.randrange(5))))
        if chance.random() < 0.5:
            found.append(("latency_ms", repr(chance.choice((3, 0, 20.5, chance.expovariate(0.02))))))
        if chance.random() < 0.1:
            found.append(("segments", '{"country":"de"}'))
        return found

    def _label(self, at: int) -> Members:
        number = self._number(0.02)
        model = self.models[number % len(self.models)]
        return [*self._who(number, model, at), ("label", self._answer(model))]

    def _who(self, number: int, model: str, at: int) -> Members:
        chance = self.chance
        pid = f'"{number}"' if chance.random() < 0.9 else str(number)
        found = [("prediction_id", pid), ("model", json.dumps(model if chance.random() < 0.99 else "away"))]
        if model == "foreign":
            found += [("meta", f'{{"id":{pid}}}'), ("inferenceId", pid)]
        return [*found, ("timestamp", str(at - chance.randrange(2_000)))]

    def _answer(self, model: str) -> str:
        chance = self.chance
        if model == "square":
            return chance.choice((repr(chance.gauss(0, 2)), "0.5", "3"))
        if model == "kinds":
            return chance.choice(('"a"', '"b"', '"c"', "4", "4.0"))
        return chance.choice(("0", "1", "1", "true", '"yes"', '"0"', "1.0"))

    def _features(self, count: int) -> str:
        chance = self.chance
        rows = {"age": repr(chance.gauss(40, 9))}
        for _ in range(count):
            name = chance.choice(("age", "income", "plan", "tags", f"f{chance.randrange(300)}"))
            rows[name] = chance.choice((repr(chance.gauss(0, 1)), '"red"', "true", "null", "3"))
        return _object(list(rows.items()))

    # -- mutations of the structure -------------------------------------------------------

    def _swap(self, members: Members, _: int) -> None:
        place = self.chance.randrange(len(members))
        members[place] = (members[place][0], self.chance.choice(TOKENS))

    def _drop(self, members: Members, _: int) -> None:
        if len(members) > 1:
            members.pop(self.chance.randrange(len(members)))

    def _repeat(self, members: Members, _: int) -> None:
        """The same key twice: the last one counts, as in most readers of JSON."""
        name, value = self.chance.choice(members)
        value = value if self.chance.random() < 0.3 else self.chance.choice(TOKENS)
        members.insert(self.chance.randrange(len(members) + 1), (name, value))

    def _add(self, members: Members, _: int) -> None:
        name = self.chance.choice(
            (*FIELDS, "", "__proto__", "Model", "model ", "pre\u0000diction", "x" * 300)
        )
        members.append((name, self.chance.choice(TOKENS)))

    def _time(self, members: Members, at: int) -> None:
        _set(members, "timestamp", self._moment(at))

    def _moment(self, at: int) -> str:
        chance = self.chance
        if chance.random() < 0.5:
            near = at + chance.choice((-1, 1)) * chance.choice(
                (0, 1, 1_000, 299_000, 300_999, 301_001, 10**9)
            )
            far = chance.randrange(-62_135_596_800_000, 253_402_300_800_001)
            return chance.choice(
                (str(near), repr(near + 0.5), str(far), str(at // 1000), str(at * 1000), f"{at}e0")
            )
        year, month, day = chance.choice(YEARS), chance.randrange(1, 14), chance.randrange(1, 33)
        clock = chance.choice(
            ("00:00:00", "23:59:59", "23:59:60", "24:00:00", "12:30", "01:02:03.123456789", "")
        )
        text = f"{year:04d}-{month:02d}-{day:02d}{chance.choice('T t')}{clock}{chance.choice(ZONES)}"
        return json.dumps(
            chance.choice((text, text, text, "2026-W10-3T00:00:00Z", "20260102T030405Z", "now"))
        )

    def _nest(self, members: Members, _: int) -> None:
        place = self.chance.randrange(len(members))
        name, value = members[place]
        depth = self.chance.choices(DEPTHS, (30, 30, 10, 8, 4, 4, 4, 2, 1))[0]
        left, right = self.chance.choice((("[", "]"), ('{"a":', "}")))
        members[place] = (name, left * depth + value + right * depth)

    def _odd_features(self, members: Members, _: int) -> None:
        chance = self.chance
        names = ("age", "income", "", "a\nb", "\u202e", "x" * 101, "\U0001f600" * 40, 'q"uote', "other", "le")
        count = chance.choices((1, 4, 30, 2_000), (50, 40, 8, 2))[0]
        rows = [
            (f"{chance.choice(names)}{chance.choice(('', chance.randrange(9)))}", chance.choice(TOKENS))
            for _ in range(count)
        ]
        _set(members, "features", _object(rows))

    def _odd_scores(self, members: Members, _: int) -> None:
        chance = self.chance
        rows = [
            (chance.choice(("1", "0", "true", "yes", "a", "", "x" * 200)), chance.choice(TOKENS))
            for _ in range(3)
        ]
        _set(members, "scores", _object(rows))

    def _odd_class(self, members: Members, _: int) -> None:
        chance = self.chance
        odd = (
            *TOKENS,
            json.dumps("c" * 100),
            json.dumps("c" * 101),
            str(chance.randrange(10**6)),
            repr(chance.random()),
        )
        _set(members, chance.choice(("prediction", "label")), chance.choice(odd))

    def _new_name(self, members: Members, _: int) -> None:
        self._names += 1
        chance = self.chance
        name = chance.choice(
            (f"name {self._names}", self._names, f"\u00e9{self._names}", f"m\n{self._names}")
        )
        _set(
            members,
            chance.choice(("model", "version", "prediction_id")),
            json.dumps(name, ensure_ascii=False),
        )

    def _giant(self, members: Members, _: int) -> None:
        place = self.chance.randrange(len(members))
        size = self.chance.choices((1_000, 70_000, 999_000, 1_000_001), (80, 18, 1, 1))[0]
        fill = self.chance.choice(("x", "9", "\u00e9"))
        members[place] = (members[place][0], fill * size if fill == "9" else f'"{fill * size}"')

    # -- damage to the bytes ----------------------------------------------------------------

    def _damaged(self, value: bytes) -> bytes:
        chance = self.chance
        data = bytearray(value)
        kind, size = chance.randrange(8), len(data)
        if kind == 0:
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(size)] = chance.randrange(256)
        elif kind == 1:
            del data[chance.randrange(size) :]
        elif kind == 2:
            place = chance.randrange(size)
            data[place:place] = chance.choice(
                (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x00")
            )
        elif kind == 3:
            data[chance.randrange(size) :] = self._last[chance.randrange(len(self._last)) :]
        elif kind == 4:
            first = chance.randrange(size)
            data[first:first] = data[first : first + chance.randrange(1, 40)]
        elif kind == 5:
            first = chance.randrange(size)
            del data[first : first + chance.randrange(1, 40)]
        elif kind == 6:
            data[:0] = chance.choice((b"\xef\xbb\xbf", b" \t\r\n", b"\x1e", b"[", b"\x00\x00\x00\x00\x01"))
        else:
            data += chance.choice((b"\n", b"}", b" {}", b",", b"\x00", b"//"))
        return bytes(data)

    def _noise(self) -> bytes:
        chance = self.chance
        kind = chance.randrange(4)
        if kind == 0:
            return chance.randbytes(chance.randrange(200))
        if kind == 1:
            return chance.choice(TOKENS).encode("utf-8", "surrogatepass")
        if kind == 2:
            return chance.choice((b"[", b'{"a":')) * chance.choice(DEPTHS)
        return "".join(chance.choices('{}[]:,"\\ \n0123456789eE.+-tfn', k=chance.randrange(120))).encode()

    @staticmethod
    def _rendered(members: Members) -> bytes:
        return _object(members).encode("utf-8", "surrogatepass")


def _object(members: Members) -> str:
    return "{" + ",".join([f"{json.dumps(name)}:{value}" for name, value in members]) + "}"


def _set(members: Members, name: str, value: str) -> None:
    """Replace a member in its place, or add it."""
    for place, (known, _) in enumerate(members):
        if known == name:
            members[place] = (name, value)
            return
    members.append((name, value))


_MUTATIONS: tuple[Callable[[Forge, Members, int], None], ...] = (
    Forge._swap, Forge._drop, Forge._repeat, Forge._add, Forge._time, Forge._nest, Forge._odd_features,
    Forge._odd_scores, Forge._odd_class, Forge._new_name, Forge._giant,
)  # fmt: skip
_WEIGHTS = (25, 6, 8, 6, 14, 5, 12, 6, 8, 10, 1)
