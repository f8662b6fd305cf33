"""TensorFlow's messages `Example` and `SequenceExample`, without importing TensorFlow.

What reads and writes records runs in many processes side by side, and TensorFlow takes three seconds and 400 MB in each
of them. The messages are declared anew, from tensorflow/core/example/example.proto and feature.proto, in a pool of
their own: in protobuf's common pool they would collide with TensorFlow's in a program that imports both.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tensorflow"
_REPEATED = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_FLOAT = descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT
_INT64 = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING


def _declare() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="luminoth/example.proto", package=_PACKAGE, syntax="proto3")
    for name, kind in (("BytesList", _BYTES), ("FloatList", _FLOAT), ("Int64List", _INT64)):
        file.message_type.add(name=name).field.add(name="value", number=1, label=_REPEATED, type=kind)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), start=1):
        field = feature.field.add(name=name.replace("List", "_list").lower(), number=number, oneof_index=0)
        field.type_name = f".{_PACKAGE}.{name}"
    _add_map(file.message_type.add(name="Features"), "feature", "Feature")
    features = file.message_type.add(name="FeatureList").field.add(name="feature", number=1, label=_REPEATED)
    features.type_name = f".{_PACKAGE}.Feature"
    _add_map(file.message_type.add(name="FeatureLists"), "feature_list", "FeatureList")
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1).type_name = f".{_PACKAGE}.Features"
    sequence = file.message_type.add(name="SequenceExample")
    sequence.field.add(name="context", number=1).type_name = f".{_PACKAGE}.Features"
    sequence.field.add(name="feature_lists", number=2).type_name = f".{_PACKAGE}.FeatureLists"
    return file


def _add_map(message: descriptor_pb2.DescriptorProto, name: str, value: str) -> None:
    """Adds a field `map<string, value> name = 1`, which protobuf spells as a list of entries."""
    entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_STRING)
    entry.field.add(name="value", number=2).type_name = f".{_PACKAGE}.{value}"
    field = message.field.add(name=name, number=1, label=_REPEATED)
    field.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_declare())

SequenceExample = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.SequenceExample"))
Example = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.Example"))
