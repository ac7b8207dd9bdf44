"""Models of pydantic. Imported only where pydantic is in use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from lacewing.types._problem import ConversionError, Problem, field_segment, index_segment
from lacewing.types._python._converter import AnnotationError, expected, is_exactly
from lacewing.types._python._records import Field, Shape
from lacewing.types._tags import MODEL_TAG


def is_model(annotation: object) -> bool:
    """Return whether an annotation is a class of models."""
    return isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


class ModelShape(Shape):
    """A model. Its own validators run when a value is made."""

    tag = MODEL_TAG

    def __init__(self, record_class: type[pydantic.BaseModel]) -> None:
        super().__init__(record_class)
        self._model = record_class
        self._keys = {name: _key(name, info) for name, info in record_class.model_fields.items()}

    def fields(self) -> dict[str, Field]:
        """Return the fields of the model."""
        return {
            name: Field(info.annotation, optional=not info.is_required())
            for name, info in self._model.model_fields.items()
        }

    def parts(self, value: Any) -> Mapping[str, Any]:
        """Read the attributes."""
        if not is_exactly(value, self.record_class):
            raise expected(self.record_class, value)
        return {name: getattr(value, name) for name in self._keys} | (value.model_extra or {})

    def build(self, parts: dict[str, Any]) -> Any:
        """Validate the fields."""
        try:
            if issubclass(self._model, pydantic.RootModel):
                return self._model.model_validate(parts["root"])
            return self._model.model_validate({self._keys[name]: part for name, part in parts.items()})
        except pydantic.ValidationError as error:
            raise ConversionError(
                Problem("".join(map(_segment, found["loc"])), f"{self.record_class.__qualname__}: {found['msg']}")
                for found in error.errors(include_url=False)
            ) from error


def _key(name: str, info: FieldInfo) -> str:
    """Return the key under which the model takes a field."""
    alias = info.validation_alias
    if isinstance(alias, pydantic.AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), alias)
    if alias is None or isinstance(alias, str):
        return alias or name
    raise AnnotationError(f"the field {name} has no alias that is a plain string, so the model could not be made again")


def _segment(location: int | str) -> str:
    return index_segment(location) if isinstance(location, int) else field_segment(location)
