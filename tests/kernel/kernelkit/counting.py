"""What is counted of the features of messages, by docs/vectorization.md: a row and a value at a time."""

import numpy as np

from kernelkit import oracle, schema

_VOCABULARIES = {"one_hot_encoding": "categories", "embedding": "embeddings"}


def expected(configuration, messages):
    """{feature: (missing, unknown, unparsable)} of messages that are vectorized once, each as a whole."""
    transformations = configuration["feature_transformations"]
    counts = {name: [0, 0, 0] for name in configuration["feature_order"]}
    for message in messages:
        outcome = oracle.expected(configuration, message)
        if isinstance(outcome, np.ndarray):
            for row in schema.decoded(message).inputs:
                given = dict(row.features.items())
                for name, count in counts.items():
                    missing, unknown = _lacking(transformations[name], given.get(name))
                    count[0] += missing
                    count[1] += unknown
        elif isinstance(outcome, oracle.Refused):
            row = schema.decoded(message).inputs[outcome.row]
            counts[outcome.feature][2] += _is_unreadable(transformations[outcome.feature], row, outcome)
    return {name: tuple(count) for name, count in counts.items()}


def _lacking(parameters, value):
    """Whether a value is missing, and how many of its strings are unknown."""
    kind = value.WhichOneof("data_type") if value is not None else None
    if kind is None:
        return 1, 0
    vocabulary = _VOCABULARIES.get(parameters["type"])
    if vocabulary is None:
        return 0, 0
    content = getattr(value, kind)
    strings = [content] if kind == "string_value" else content.values
    return 0, sum(each not in parameters[vocabulary] for each in strings)


def _is_unreadable(parameters, row, refused):
    """Whether a value is refused neither for its kind nor for the number of its values."""
    value = row.features[refused.feature]
    content = getattr(value, refused.kind)
    length = 1 if refused.kind.endswith("_value") else len(content.values)
    return oracle.takes(parameters, refused.kind, length)
