"""text_length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hushar.plugins import Element


@pytest.mark.parametrize(
    ("text", "characters", "size", "words"),
    [
        ("", 0, 0, 0),
        ("one", 3, 3, 1),
        ("  two\twords\n", 12, 12, 2),
        ("naïve", 5, 6, 1),
        ("हुशार", 5, 15, 1),
        ("👍🏽", 2, 8, 1),
        ("no-break\u00a0space", 14, 15, 2),
    ],
)
def test_it_measures_characters_bytes_or_words(transformed, text, characters, size, words):
    def measured(**parameters):
        return transformed("text_length", Element.STRING, [text], **parameters).values.tolist()

    assert measured() == [[characters]]
    assert measured(measure="characters") == [[characters]]
    assert measured(measure="bytes") == [[size]]
    assert measured(measure="words") == [[words]]


@given(st.lists(st.text(), max_size=5))
def test_every_text_is_measured_by_itself(transformed, texts: list[str]):
    out = transformed("text_length", Element.STRING, texts, measure="bytes").values
    assert out.tolist() == [[len(text.encode())] for text in texts]


def test_another_measure_is_refused(refusal):
    assert "'characters', 'bytes' or 'words'" in refusal("text_length", measure="lines")
