from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InferenceRequest(_message.Message):
    __slots__ = ("request_id", "inputs")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    inputs: _containers.RepeatedCompositeFieldContainer[InputRow]
    def __init__(self, request_id: _Optional[str] = ..., inputs: _Optional[_Iterable[_Union[InputRow, _Mapping]]] = ...) -> None: ...

class InferenceResponse(_message.Message):
    __slots__ = ("request_id", "outputs")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    outputs: _containers.RepeatedCompositeFieldContainer[OutputRow]
    def __init__(self, request_id: _Optional[str] = ..., outputs: _Optional[_Iterable[_Union[OutputRow, _Mapping]]] = ...) -> None: ...

class InputRow(_message.Message):
    __slots__ = ("row_id", "features")
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: DataType
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[DataType, _Mapping]] = ...) -> None: ...
    ROW_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    row_id: str
    features: _containers.MessageMap[str, DataType]
    def __init__(self, row_id: _Optional[str] = ..., features: _Optional[_Mapping[str, DataType]] = ...) -> None: ...

class OutputRow(_message.Message):
    __slots__ = ("row_id", "scores")
    ROW_ID_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    row_id: str
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, row_id: _Optional[str] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...

class DataType(_message.Message):
    __slots__ = ("double_value", "float_value", "integer_value", "long_value", "string_value", "double_array", "float_array", "integer_array", "long_array", "string_array")
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    FLOAT_VALUE_FIELD_NUMBER: _ClassVar[int]
    INTEGER_VALUE_FIELD_NUMBER: _ClassVar[int]
    LONG_VALUE_FIELD_NUMBER: _ClassVar[int]
    STRING_VALUE_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_ARRAY_FIELD_NUMBER: _ClassVar[int]
    FLOAT_ARRAY_FIELD_NUMBER: _ClassVar[int]
    INTEGER_ARRAY_FIELD_NUMBER: _ClassVar[int]
    LONG_ARRAY_FIELD_NUMBER: _ClassVar[int]
    STRING_ARRAY_FIELD_NUMBER: _ClassVar[int]
    double_value: float
    float_value: float
    integer_value: int
    long_value: int
    string_value: str
    double_array: DoubleArray
    float_array: FloatArray
    integer_array: IntegerArray
    long_array: LongArray
    string_array: StringArray
    def __init__(self, double_value: _Optional[float] = ..., float_value: _Optional[float] = ..., integer_value: _Optional[int] = ..., long_value: _Optional[int] = ..., string_value: _Optional[str] = ..., double_array: _Optional[_Union[DoubleArray, _Mapping]] = ..., float_array: _Optional[_Union[FloatArray, _Mapping]] = ..., integer_array: _Optional[_Union[IntegerArray, _Mapping]] = ..., long_array: _Optional[_Union[LongArray, _Mapping]] = ..., string_array: _Optional[_Union[StringArray, _Mapping]] = ...) -> None: ...

class DoubleArray(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class FloatArray(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, values: _Optional[_Iterable[float]] = ...) -> None: ...

class IntegerArray(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class LongArray(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[int]] = ...) -> None: ...

class StringArray(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class InferenceLogRow(_message.Message):
    __slots__ = ("row_id", "features", "scores")
    class FeaturesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: DataType
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[DataType, _Mapping]] = ...) -> None: ...
    ROW_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    row_id: str
    features: _containers.MessageMap[str, DataType]
    scores: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, row_id: _Optional[str] = ..., features: _Optional[_Mapping[str, DataType]] = ..., scores: _Optional[_Iterable[float]] = ...) -> None: ...

class InferenceLogBatch(_message.Message):
    __slots__ = ("request_id", "model_id", "inference_log_rows", "received_unix_micros", "model_version")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_ID_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_LOG_ROWS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_UNIX_MICROS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model_id: str
    inference_log_rows: _containers.RepeatedCompositeFieldContainer[InferenceLogRow]
    received_unix_micros: int
    model_version: str
    def __init__(self, request_id: _Optional[str] = ..., model_id: _Optional[str] = ..., inference_log_rows: _Optional[_Iterable[_Union[InferenceLogRow, _Mapping]]] = ..., received_unix_micros: _Optional[int] = ..., model_version: _Optional[str] = ...) -> None: ...

class InferenceLogs(_message.Message):
    __slots__ = ("inferenceLogBatches", "segment_info")
    INFERENCELOGBATCHES_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_INFO_FIELD_NUMBER: _ClassVar[int]
    inferenceLogBatches: _containers.RepeatedCompositeFieldContainer[InferenceLogBatch]
    segment_info: _containers.RepeatedCompositeFieldContainer[SegmentInfo]
    def __init__(self, inferenceLogBatches: _Optional[_Iterable[_Union[InferenceLogBatch, _Mapping]]] = ..., segment_info: _Optional[_Iterable[_Union[SegmentInfo, _Mapping]]] = ...) -> None: ...

class SegmentInfo(_message.Message):
    __slots__ = ("instance", "worker", "segment", "batches", "total_batches")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BATCHES_FIELD_NUMBER: _ClassVar[int]
    instance: str
    worker: int
    segment: int
    batches: int
    total_batches: int
    def __init__(self, instance: _Optional[str] = ..., worker: _Optional[int] = ..., segment: _Optional[int] = ..., batches: _Optional[int] = ..., total_batches: _Optional[int] = ...) -> None: ...
