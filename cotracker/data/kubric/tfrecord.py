"""TFRecord files of tf.train.Example read without TensorFlow: framing, both checksums, features by name."""

import struct
from functools import cache
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

HEAD, TAIL = 12, 4  # bytes: length and its checksum before the data, the data's checksum after


class Span(NamedTuple):
    """Where the data of a record stands in its file, in bytes."""

    offset: int
    length: int


def scan(path: Path) -> tuple[list[Span], str | None]:
    """The whole records of a file, found by their lengths alone, and one sentence if the file ends badly, else None.

    A length that fails its checksum hides all that follows it.
    """
    size, spans, offset = path.stat().st_size, [], 0
    with path.open("rb") as file:
        while offset < size:
            file.seek(offset)
            head, number = file.read(HEAD), len(spans)
            if len(head) == HEAD:
                length, checksum = struct.unpack("<QI", head)
                if _masked(head[:8]) != checksum:
                    reason = (
                        "the record's length fails its checksum, so nothing after it can be read"
                    )
                    return spans, f"{path}, record {number}: {reason}: fetch the file again"
            if len(head) < HEAD or offset + HEAD + length + TAIL > size:
                return (
                    spans,
                    f"{path}, record {number}: the file ends in the middle of it: fetch the file again",
                )
            spans.append(Span(offset + HEAD, length))
            offset += HEAD + length + TAIL
    return spans, None


def read(path: Path, span: Span) -> bytes:
    """The data of one record; ValueError where it fails its checksum."""
    with path.open("rb") as file:
        file.seek(span.offset)
        data, tail = file.read(span.length), file.read(TAIL)
    if len(data) < span.length or len(tail) < TAIL or _masked(data) != struct.unpack("<I", tail)[0]:
        raise ValueError("the data fails its checksum: fetch the file again")
    return data


class Features:
    """The features of one tf.train.Example by name, each decoded when asked for; ValueError names what is missing."""

    def __init__(self, data: bytes):
        self._found = dict(_parse("Example", data).features.feature)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def numbers(self, name: str) -> np.ndarray:
        """Its floats or integers, flat, as float64 or int64."""
        feature = self._feature(name)
        kind = feature.WhichOneof("kind")
        if kind not in ("float_list", "int64_list"):
            raise ValueError(f"the feature {name!r} should hold numbers")
        return np.array(getattr(feature, kind).value, float if kind == "float_list" else np.int64)

    def strings(self, name: str) -> list[bytes]:
        """Its byte strings: texts, or encoded images."""
        feature = self._feature(name)
        if feature.WhichOneof("kind") != "bytes_list":
            raise ValueError(f"the feature {name!r} should hold byte strings")
        return list(feature.bytes_list.value)

    def _feature(self, name: str):
        if name not in self._found:
            raise ValueError(f"the feature {name!r} is missing")
        return _parse("Feature", self._found[name])


def _masked(data: bytes) -> int:
    checksum = google_crc32c.value(data)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _parse(kind: str, data: bytes):
    try:
        return _messages()[f"tfrecord.{kind}"].FromString(data)
    except DecodeError as error:
        raise ValueError("the data is not a tf.train.Example") from error


@cache
def _messages() -> dict:
    """Message classes by name, wire-compatible with tf.train.Example.

    A feature stands in its map as plain bytes, which on the wire is the same: the many that nobody asks for (25 million
    numbers of optical flow in one record of MOVi-F) are so never decoded.
    """
    field, file = descriptor_pb2.FieldDescriptorProto, descriptor_pb2.FileDescriptorProto()
    file.name, file.package, file.syntax = "tfrecord.proto", "tfrecord", "proto3"

    def message(name: str, *rows: tuple, into=file.message_type):
        made = into.add(name=name)
        for number, (label, kind, many) in enumerate(rows, 1):
            repeated = field.LABEL_REPEATED if many else field.LABEL_OPTIONAL
            about = (
                {"type_name": f".tfrecord.{kind}", "type": field.TYPE_MESSAGE}
                if isinstance(kind, str)
                else {}
            )
            made.field.add(name=label, number=number, label=repeated, **(about or {"type": kind}))
        return made

    for name, kind in (
        ("Bytes", field.TYPE_BYTES),
        ("Float", field.TYPE_FLOAT),
        ("Int64", field.TYPE_INT64),
    ):
        message(f"{name}List", ("value", kind, True))
    lists = [(f"{name.lower()}_list", f"{name}List", False) for name in ("Bytes", "Float", "Int64")]
    feature = message("Feature", *lists)
    feature.oneof_decl.add(name="kind")
    for one in feature.field:
        one.oneof_index = 0
    features = message("Features", ("feature", "Features.FeatureEntry", True))
    entry = message(
        "FeatureEntry",
        ("key", field.TYPE_STRING, False),
        ("value", field.TYPE_BYTES, False),
        into=features.nested_type,
    )
    entry.options.map_entry = True
    message("Example", ("features", "Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClassesForFiles(["tfrecord.proto"], pool)
