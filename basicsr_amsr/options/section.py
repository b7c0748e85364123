"""The base class of typed option sections, and the types that their keys have."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args

from annotated_types import Predicate
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """Options that stand together under one key of an option file; a class declares them as fields.

    ```python
    class TrainSection(Section):
        ema_decay: Share = Field(0.0, description='weight of the moving average; 0 for none')
    ```

    A key that is no field is a mistake, and so is text where a number is wanted; a whole number is fine as a float. `~`
    stands for the default.
    """

    model_config = ConfigDict(extra='forbid', strict=True, defer_build=True, protected_namespaces=())
    nothing_is_default: ClassVar[bool] = True

    @model_validator(mode='before')
    @classmethod
    def _drop_nothing(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not cls.nothing_is_default:
            return values
        return {key: value for key, value in values.items() if value is not None or key not in cls.model_fields}


def sections_in(field: FieldInfo) -> Iterator[type[Section]]:
    """The sections that a field may hold, by themselves or in lists."""
    pending: list[Any] = [field.annotation]
    while pending:
        annotation = pending.pop()
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield annotation
        pending.extend(get_args(annotation))


class OpenSection(Section):
    """A section that may hold other keys too: whatever takes them is not known here."""

    model_config = ConfigDict(extra='allow')


@dataclass(frozen=True)
class Named:
    """Marks options with a `type:` that names a class.

    Attributes:
        kind: a registry's name, 'optimizer' or 'scheduler'.
        section: `section(options, those beside them)` returns what may stand beside the `type:`, or raises a UserError;
            default is what the class declares, or its arguments.
        more: a section whose keys stand there too, for whoever reads the options.
        default: the `type:` where none is given; '': one has to be given.
    """

    kind: str
    section: Callable[[Mapping[str, Any], Mapping[str, Any]], type[Section]] | None = None
    more: type[Section] | None = None
    default: str = ''


@dataclass(frozen=True)
class Words:
    """Describes the possible values of an option, where its type alone does not say it well."""

    text: str


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Iterations = Annotated[int, Field(ge=1), BeforeValidator(_whole)]
IterationsOrNone = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
PositiveNumber = Annotated[float, Field(gt=0)]
Number = Annotated[float, Field(ge=0)]
Odd = Annotated[int, Field(ge=1), Predicate(lambda value: value % 2 == 1), Words('an odd number of pixels')]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Folders = Annotated[str | list[str], Words('a folder, or a list of folders')]
File = Annotated[str, Words('a file')]
MOST_LETTERS = 150  # bytes of a name: more stands beside it in the names of files, which have 255 at most


def _short_name(value: Any) -> Any:
    if len(str(value).encode()) > MOST_LETTERS:
        raise ValueError(f'{str(value)[:20]}… has {len(str(value))} letters: names of folders and files are shorter, '
                         f'{MOST_LETTERS} bytes at most.')
    return value


Name = Annotated[str | int, AfterValidator(_short_name)]

Network = Annotated[dict[str, Any], Named('arch')]
Loss = Annotated[dict[str, Any], Named('loss')]
Metric = Annotated[dict[str, Any], Named('metric')]
Optimizer = Annotated[dict[str, Any], Named('optimizer')]
Scheduler = Annotated[dict[str, Any], Named('scheduler')]
TransformOptions = Annotated[dict[str, Any], Named('transform')]


class Target(Section):
    """What a transform of a sample says beside its own options."""

    target: str = Field(description='the image to transform: lq or gt')


SampleTransformOptions = Annotated[dict[str, Any], Named('transform', more=Target)]
