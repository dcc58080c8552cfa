"""TFRecord files of tf.train.Example, read without TensorFlow and with both checksums."""

import struct
from functools import cache
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

HEAD = 12  # bytes before the data: its length and the length's checksum
TAIL = 4  # bytes after the data: its checksum


class Span(NamedTuple):
    """Where the data of a record stands in its file, in bytes."""

    offset: int
    length: int


def scan_records(path: Path) -> tuple[list[Span], str | None]:
    """The whole records of a file, and one sentence if the file ends badly, else None.

    Records are found by their lengths alone.
    A length that fails its checksum hides all that follows it.
    """
    size = path.stat().st_size
    spans = []
    offset = 0
    problem = None
    with path.open("rb") as file:
        while offset < size and problem is None:
            file.seek(offset)
            length, problem = _read_length(file.read(HEAD), size - offset)
            if problem is None:
                spans.append(Span(offset + HEAD, length))
                offset += HEAD + length + TAIL
    if problem:
        problem = f"{path}, record {len(spans)}: {problem}: fetch the file again"
    return spans, problem


def _read_length(head: bytes, left: int) -> tuple[int, str | None]:
    """The length of a record's data, and what is wrong with it; `left`: bytes to the file's end."""
    if len(head) == HEAD:
        length, checksum = struct.unpack("<QI", head)
        if _mask_crc(head[:8]) != checksum:
            return 0, "the record's length fails its checksum, so nothing after it can be read"
        if HEAD + length + TAIL <= left:
            return length, None
    return 0, "the file ends in the middle of it"


def read_record(path: Path, span: Span) -> bytes:
    """The data of one record; ValueError where it fails its checksum."""
    with path.open("rb") as file:
        file.seek(span.offset)
        data = file.read(span.length)
        tail = file.read(TAIL)
    checksum = struct.pack("<I", _mask_crc(data))
    if len(data) < span.length or tail != checksum:
        raise ValueError("the data fails its checksum: fetch the file again")
    return data


class Features:
    """The features of one tf.train.Example by name, each decoded on request.

    ValueError names a feature that is missing or of another kind.
    """

    def __init__(self, data: bytes):
        self._features = dict(_parse("Example", data).features.feature)

    def __contains__(self, name: str) -> bool:
        return name in self._features

    def read_numbers(self, name: str) -> np.ndarray:
        """Its floats or integers, flat, as float64 or int64."""
        feature = self._feature(name)
        kind = feature.WhichOneof("kind")
        if kind == "float_list":
            return np.array(feature.float_list.value, float)
        if kind == "int64_list":
            return np.array(feature.int64_list.value, np.int64)
        raise ValueError(f"the feature {name!r} should hold numbers")

    def read_strings(self, name: str) -> list[bytes]:
        """Its byte strings: texts, or encoded images."""
        feature = self._feature(name)
        if feature.WhichOneof("kind") != "bytes_list":
            raise ValueError(f"the feature {name!r} should hold byte strings")
        return list(feature.bytes_list.value)

    def _feature(self, name: str):
        if name not in self._features:
            raise ValueError(f"the feature {name!r} is missing")
        return _parse("Feature", self._features[name])


def _mask_crc(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _parse(kind: str, data: bytes):
    try:
        return _message_classes()[f"tfrecord.{kind}"].FromString(data)
    except DecodeError as error:
        raise ValueError("the data is not a tf.train.Example") from error


@cache
def _message_classes() -> dict:
    """Message classes by name, wire-compatible with tf.train.Example.

    A feature stands in its map as plain bytes, which is the same on the wire. So the features that
    nobody requests (25 million numbers of optical flow in a record of MOVi-F) are never decoded.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="tfrecord.proto", package="tfrecord", syntax="proto3"
    )
    kinds = {"Bytes": field.TYPE_BYTES, "Float": field.TYPE_FLOAT, "Int64": field.TYPE_INT64}
    for name, kind in kinds.items():
        _add_message(file.message_type, f"{name}List", ("value", kind, True))
    lists = [(f"{name.lower()}_list", f"{name}List", False) for name in kinds]
    feature = _add_message(file.message_type, "Feature", *lists)
    feature.oneof_decl.add(name="kind")
    for one in feature.field:
        one.oneof_index = 0
    features = _add_message(
        file.message_type, "Features", ("feature", "Features.FeatureEntry", True)
    )
    key = ("key", field.TYPE_STRING, False)
    value = ("value", field.TYPE_BYTES, False)
    entry = _add_message(features.nested_type, "FeatureEntry", key, value)
    entry.options.map_entry = True
    _add_message(file.message_type, "Example", ("features", "Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClassesForFiles(["tfrecord.proto"], pool)


def _add_message(into, name: str, *fields: tuple[str, int | str, bool]):
    """The message added; each field has a name, a type or a message's name, and may be repeated."""
    field = descriptor_pb2.FieldDescriptorProto
    message = into.add(name=name)
    for number, (label, kind, repeated) in enumerate(fields, 1):
        added = message.field.add(name=label, number=number)
        added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        added.type = field.TYPE_MESSAGE if isinstance(kind, str) else kind
        if isinstance(kind, str):
            added.type_name = f".tfrecord.{kind}"
    return message
