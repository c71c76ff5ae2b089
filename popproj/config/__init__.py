"""What may be chosen: city.toml becomes one frozen, checked ``City``.

Each key stands once, in ``tables`` or ``city``, with its type, limits, default, meaning and reason
in English (the docstring under it) and Japanese (``Ja``). The checks, the messages and the
commented file that ``popproj init`` writes (``template``) all come from those lines.
"""

from popproj.config.city import (
    BASELINE,
    City,
    Parameters,
    ProjectionOptions,
    ResultOptions,
    Scenario,
    language,
)
from popproj.config.cityfile import load_city, template
from popproj.config.tables import (
    AreasTable,
    ControlsTable,
    DevelopmentsTable,
    DistrictsFile,
    EnrolmentTable,
    EventsTable,
    FacilitiesTable,
    FertilityFile,
    GroupQuartersTable,
    LifeTableFile,
    LineageTable,
    PopulationTable,
    ResidentsTable,
    Table,
    WardEventsTable,
)
from popproj.config.values import Kind, Language, Level, toml_value

__all__ = [
    "BASELINE",
    "AreasTable",
    "City",
    "ControlsTable",
    "DevelopmentsTable",
    "DistrictsFile",
    "EnrolmentTable",
    "EventsTable",
    "FacilitiesTable",
    "FertilityFile",
    "GroupQuartersTable",
    "Kind",
    "Language",
    "Level",
    "LifeTableFile",
    "LineageTable",
    "Parameters",
    "PopulationTable",
    "ProjectionOptions",
    "ResidentsTable",
    "ResultOptions",
    "Scenario",
    "Table",
    "WardEventsTable",
    "language",
    "load_city",
    "template",
    "toml_value",
]
