"""What all sections of a configuration are made of."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
DropoutRate = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveFloat = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Section(BaseModel):
    """A group of keys. Unknown keys and wrong types are errors; instances are hashable and never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_placeholder(cls, value: Any) -> Any:
        if isinstance(value, str) and re.fullmatch("FILL(_[A-Z]+)*", value):
            raise ValueError(f"still the placeholder {value}: give it a value")
        return value


def only_chosen(data: Any, chosen: str | None, kinds: tuple[str, ...]) -> Any:
    """Drops the sub-sections of the kinds that were not chosen: only the chosen one is validated."""
    if not isinstance(data, dict):
        return data
    return {k: v for k, v in data.items() if k not in kinds or (k == chosen and v is not None)}
