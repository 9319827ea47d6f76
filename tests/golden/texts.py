"""Which texts are the golden vectors of?  200 short ones, made from a few words of our own, the same on every machine.

Besides plain sentences there are the texts on which tokenisers and masks disagree: punctuation, capitals, characters
outside the vocabulary, words that look like markers, spaces at the ends, nothing at all.
"""

from __future__ import annotations

__all__ = ["WORDS", "texts"]

_SUBJECTS = "serotine bat moth owl river tree cave night wing insect roost mammal".split()
_VERBS = "flies hunts sleeps eats hears follows leaves finds".split()
_PLACES = ["under the tree", "over the river", "in a cave", "at night", "near the old barn", "with long wings"]
_FORMS = [
    "The {subject} {verb} {place}.",
    "Which {subject} {verb} {place}?",
    "{subject}, {other}; {verb}!",
    "Does the {subject} that {verb} hear the {other} {place}? Yes: it does.",
    "{subject} {place}",
]

_ODD = [
    "",
    " ",
    "!!!",
    "...?",
    " the bat flies ",
    "BAT",
    "bat-moth (owl) [cave] {tree} <night> `wing` ~ ^ | \\ / # $ % & * + = _ @ \"'",
    "café Straße 漢字 bat",
    "🦇 the owl",
    "[Q] the bat",
    "the bat [D] sleeps",
    "[MASK] flies at night",
    "the\nbat\tflies",
    "moth " * 40,
    "1 2 3 10,000.5",
    "unhearable batlike mothwings",
]

_PLAIN = [word for text in (*_FORMS, *_PLACES) for word in text.split() if "{" not in word]
WORDS = sorted({word.lower().strip(".,;:!?") for word in _PLAIN})
WORDS += [*_SUBJECTS, *_VERBS]


def texts(number: int = 200) -> list[str]:
    """Return the first texts of the list, at most 200 of them; the odd ones come first."""
    made = list(_ODD)
    position = 0
    while len(made) < 200:
        subject = _SUBJECTS[position % len(_SUBJECTS)]
        made.append(
            _FORMS[position % len(_FORMS)].format(
                subject=subject.capitalize() if position % 7 == 0 else subject,
                other=_SUBJECTS[(position * 5 + 3) % len(_SUBJECTS)],
                verb=_VERBS[(position * 3 + position // 8) % len(_VERBS)],
                place=_PLACES[(position + position // 6) % len(_PLACES)],
            )
        )
        position += 1
    return made[:number]
