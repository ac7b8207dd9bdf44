"""The type system of Lacewing: which literals a type admits, what identifies a value, and how to convert values.

Pure functions and objects over the messages of `lacewing.v1`, shared by the SDK and the server.
"""

from __future__ import annotations

from lacewing.types._assign import admits_none, assignable, closest_variant, explain_mismatch
from lacewing.types._blob_uri import BLOB_URI_PREFIX, BlobReference, blob_references
from lacewing.types._check import InterfaceChecker, compile_checker
from lacewing.types._codecs import PRIMITIVE_TYPES
from lacewing.types._describe import describe_literal, describe_type
from lacewing.types._diff import Difference, literal_map_differences
from lacewing.types._digest import digest_interface, digest_literal, digest_literal_map, digest_message
from lacewing.types._json import JsonConverter, literal_map_from_json, literal_map_to_json
from lacewing.types._paths import literal_at, type_at
from lacewing.types._problem import ConversionError, Problem
from lacewing.types._python import (
    AnnotationError,
    BlobAccess,
    Columns,
    Converter,
    DictConverter,
    Directory,
    File,
    Format,
    FunctionInterface,
    GraphFailure,
    ListConverter,
    TypeTransformer,
    UnionConverter,
    blob_access,
    converter_for,
    interface_of,
    literal_type_of,
    register_transformer,
)
from lacewing.types._version import NOT_IDENTITY, derived_version, digest_spec

__all__ = [
    "BLOB_URI_PREFIX",
    "NOT_IDENTITY",
    "PRIMITIVE_TYPES",
    "AnnotationError",
    "BlobAccess",
    "BlobReference",
    "Columns",
    "ConversionError",
    "Converter",
    "DictConverter",
    "Difference",
    "Directory",
    "File",
    "Format",
    "FunctionInterface",
    "GraphFailure",
    "InterfaceChecker",
    "JsonConverter",
    "ListConverter",
    "Problem",
    "TypeTransformer",
    "UnionConverter",
    "admits_none",
    "assignable",
    "blob_access",
    "blob_references",
    "closest_variant",
    "compile_checker",
    "converter_for",
    "derived_version",
    "describe_literal",
    "describe_type",
    "digest_interface",
    "digest_literal",
    "digest_literal_map",
    "digest_message",
    "digest_spec",
    "explain_mismatch",
    "interface_of",
    "literal_at",
    "literal_map_differences",
    "literal_map_from_json",
    "literal_map_to_json",
    "literal_type_of",
    "register_transformer",
    "type_at",
]
