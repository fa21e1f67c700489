"""Drawn mutations of bytes, texts and JSON values. A ``random.Random`` draws everything, so each can be made again."""

from __future__ import annotations

import json
import math
import re
import sys

DIGITS = "9" * 5000
ATOMS = [
    None, True, False, 0, 1, -1, 2, 3, 7, 10, 100, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 0.0, -0.0,
    0.4, 1.0, 1.5, -3.5, 1e-320, 1e308, -1e308, math.inf, -math.inf, math.nan, "", " ", "a", "\0", "a\0b", "Größe",
    "\ud800", "inf", "none", "nan", "hard", "soft", "random", "../..", "/", "x" * 5000, "0.4", "cosine(0.2, 0.8)",
    "soft(temperature=0.3)", [], {}, [[]], [1, 2, 3], ["a"], [None], {"a": 1}, {"name": "soft"}, {"": {}},
]  # fmt: skip
TOKENS = [
    b"\0", b"\xff", b"\xc3", b"\n", b"\r", b" ", b",", b":", b"{", b"}", b"[", b"]", b'"', b"\\", b"'", b"#", b"=", b"(",
    b")", b"-", b"1e308", b"1e400", b"-1e400", b"NaN", b"nan", b"Infinity", b"inf", b"null", b"None", b"true", b"\\ud800",
    DIGITS.encode(), b"[" * 2000, b'{"a":' * 2000, b"(" * 2000, b"-" * 2000, b"a." * 2000, b"a=" * 200, b"x" * 5000,
    b"'''", b'"""', b"__import__", b"lambda:0", b"10**10", b"1_000", b"0x10", b"\xef\xbb\xbf", b"\xf0\x9f\x98\x80",
]  # fmt: skip


def flipped(data, rng):
    """Return bytes with one bit flipped."""
    changed = bytearray(data)
    if changed:
        place = rng.randrange(8 * len(changed))
        changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def cut(data, rng):
    """Return bytes without their end."""
    return data[: rng.randrange(len(data) + 1)]


def mutated_bytes(data, rng):
    """Return bytes with one to three changes: bits, cuts, pieces moved, doubled or left out, tokens put in."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        start, stop = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        stop = min(stop, start + rng.choice((1, 4, 40, 4000)))
        kind = rng.randrange(8)
        if kind < 2:
            data = flipped(data, rng)
        elif kind == 2:
            data = cut(data, rng)
        elif kind == 3:
            data = data[:start] + data[stop:]
        elif kind == 4:
            data = data[:stop] + data[start:stop] * rng.choice((1, 2, 50)) + data[stop:]
        elif kind == 5:
            data = data[:start] + rng.choice(TOKENS) + data[stop:]
        elif kind == 6:
            data = data[:start] + rng.choice(TOKENS) + data[start:]
        else:
            data = data[:start] + rng.randbytes(stop - start) + data[stop:]
    return data


def mutated_text(text, rng):
    """Return a text changed as bytes are, or with another number in it.

    Bytes that are no UTF-8 become lone surrogates, as in the system's names.
    """
    numbers = list(re.finditer(r"-?\d+(\.\d+)?", text))
    if numbers and rng.random() < 0.3:
        number = rng.choice(numbers)
        return text[: number.start()] + as_json(drawn(rng))[:200] + text[number.end() :]
    return mutated_bytes(text.encode("utf-8", "surrogatepass"), rng).decode("utf-8", "surrogateescape")


def nested(depth, rng):
    """Return a list or dict of this depth."""
    value = copied(rng.choice(ATOMS))
    for _ in range(depth):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def drawn(rng):
    """Return any value that JSON or TOML could hold, and a few that they cannot."""
    kind = rng.randrange(12)
    if kind == 0:
        return nested(rng.choice((1, 3, 60, 300)), rng)
    if kind == 1:
        return rng.choice((1, -1)) * rng.randrange(10 ** rng.choice((1, 3, 20, 5000)))
    if kind == 2:
        return rng.uniform(-1, 1) * 10.0 ** rng.randrange(-300, 300)
    return copied(rng.choice(ATOMS))


def mutated_value(value, rng):
    """Return a copy of a JSON value with one to three of its parts replaced, removed, renamed, doubled or swapped."""
    value = copied(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder = _holder(value, rng)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key, other = rng.choice(keys), rng.choice(keys)
        kind = rng.randrange(8)
        if kind < 4:
            holder[key] = drawn(rng)
        elif kind == 4:
            del holder[key]
        elif kind == 5:
            holder[key], holder[other] = holder[other], holder[key]
        elif kind == 6 and isinstance(holder, dict):
            holder[rng.choice(("", "a", "\0", "n", "plan", "x" * 5000, "draw"))] = holder.pop(key)
        elif kind == 6:
            holder.extend(copied(holder[key]) for _ in range(rng.choice((1, 9))))
        elif isinstance(holder[key], str):
            holder[key] = mutated_text(holder[key], rng)
        elif isinstance(holder[key], int) and not isinstance(holder[key], bool):
            holder[key] += rng.choice((-2, -1, 1, 2, 2**40))
        elif isinstance(holder[key], float):
            holder[key] *= rng.choice((-1, 0, 2, 1e300))
    return value


def copied(value):
    """Return a copy of a JSON value."""
    if isinstance(value, dict):
        return {key: copied(one) for key, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list) else value


def _holder(value, rng):
    """Return a list or dict somewhere in a value, deep ones as often as shallow ones."""
    found = [value]
    for one in found:
        inside = one.values() if isinstance(one, dict) else one
        found.extend(part for part in inside if isinstance(part, dict | list) and part)
        if len(found) > 200:
            break
    return rng.choice(found)


def as_json(value):
    """Return a value as JSON text, however wrong: lone surrogates and numbers that JSON does not have included."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value, default=str)
    finally:
        sys.set_int_max_str_digits(limit)
