"""TFRecord files, read without TensorFlow: where records lie and what they hold.

A record is its length (8 bytes, little-endian), a checksum of the length, the data, and a checksum
of the data. The data is a protocol buffer `tf.train.Example`: named lists of bytes, floats or
integers, which protobuf reads. Images are only located, so that they stay in the file until they
are needed.
"""

import mmap
import struct
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from fewtune.core.errors import DataError
from fewtune.datasets.array_files import optional

_LENGTH = struct.Struct("<QI")
_FOOTER = 4
# tensorflow/core/example/{example,feature}.proto, with the map written as the list that it is.
_EXAMPLE = """
name: "example.proto" package: "tf.train" syntax: "proto3"
message_type { name: "BytesList"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_BYTES } }
message_type { name: "FloatList"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_FLOAT } }
message_type { name: "Int64List"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_INT64 } }
message_type { name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type_name: "BytesList" oneof_index: 0 }
  field { name: "float_list" number: 2 type_name: "FloatList" oneof_index: 0 }
  field { name: "int64_list" number: 3 type_name: "Int64List" oneof_index: 0 } }
message_type { name: "Entry"
  field { name: "key" number: 1 type: TYPE_STRING }
  field { name: "value" number: 2 type_name: "Feature" } }
message_type { name: "Features"
  field { name: "feature" number: 1 label: LABEL_REPEATED type_name: "Entry" } }
message_type { name: "Example"
  field { name: "features" number: 1 type_name: "Features" } }
"""

Data = mmap.mmap | bytes
Features = Mapping[str, list[Any]]  # bytes, floats or integers


class Span(NamedTuple):
    """A run of bytes of a file."""

    offset: int
    size: int


def map_file(path: Path) -> Data:
    """Return the contents of a file, brought into memory as they are looked at.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror or error}.") from error


def locate_records(data: Data, path: Path) -> Iterator[Span]:
    """Yield where the data of each record lies.

    Raises:
        DataError: The file is cut off or damaged.
    """
    offset = 0
    while offset < len(data):
        start = offset + _LENGTH.size
        size = _LENGTH.unpack_from(data, offset)[0] if start <= len(data) else len(data)
        if start + size + _FOOTER > len(data):
            raise _damaged(path, offset, "the file is cut off")
        yield Span(start, size)
        offset = start + size + _FOOTER


def read_record(data: Data, record: Span, path: Path) -> Features:
    """Return the lists of a record by name.

    Raises:
        DataError: The record is no `tf.train.Example`, or protobuf is not installed.
    """
    example, refused = _example()
    try:
        read = example.FromString(data[record.offset : record.offset + record.size])
    except refused as error:
        offset = record.offset - _LENGTH.size
        raise _damaged(path, offset, "it is no tf.train.Example") from error
    found = {}
    for entry in read.features.feature:
        kind = entry.value.WhichOneof("kind")
        found[entry.key] = list(getattr(entry.value, kind).value) if kind else []
    return found


def locate_bytes(data: Data, record: Span, values: bytes) -> Span:
    """Return where bytes that a record holds lie in its file."""
    return Span(data.find(values, record.offset, record.offset + record.size), len(values))


def _damaged(path: Path, offset: int, why: str) -> DataError:
    return DataError(
        f"{path} is damaged: of the record at byte {offset}, {why}.", hint="Fetch the file again."
    )


@cache
def _example() -> tuple[Any, type[Exception]]:
    """Return the class of `tf.train.Example`, and what it raises for other bytes."""
    optional("google.protobuf", "read TFRecord files", package="protobuf")
    from google.protobuf import (
        descriptor_pb2,
        descriptor_pool,
        message,
        message_factory,
        text_format,
    )

    pool = descriptor_pool.DescriptorPool()
    pool.Add(text_format.Parse(_EXAMPLE, descriptor_pb2.FileDescriptorProto()))
    found = pool.FindMessageTypeByName("tf.train.Example")
    return message_factory.GetMessageClass(found), message.DecodeError
