"""Python values to literals and back, by annotation."""

from __future__ import annotations

from lacewing.types._python._blob_access import BlobAccess, blob_access
from lacewing.types._python._compile import converter_for, literal_type_of, register_transformer
from lacewing.types._python._containers import DictConverter, ListConverter
from lacewing.types._python._converter import AnnotationError, Converter
from lacewing.types._python._files import Directory, File, Format
from lacewing.types._python._function import FunctionInterface, interface_of
from lacewing.types._python._scalars import GraphFailure
from lacewing.types._python._tables import Columns
from lacewing.types._python._transformer import TypeTransformer
from lacewing.types._python._union import UnionConverter

__all__ = [
    "AnnotationError",
    "BlobAccess",
    "Columns",
    "Converter",
    "DictConverter",
    "Directory",
    "File",
    "Format",
    "FunctionInterface",
    "GraphFailure",
    "ListConverter",
    "TypeTransformer",
    "UnionConverter",
    "blob_access",
    "converter_for",
    "interface_of",
    "literal_type_of",
    "register_transformer",
]
