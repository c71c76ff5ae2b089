"""Verbs: words on the command line become calls of public functions.

Exit codes: 0 fine, 1 something wrong with what was given, 2 usage, 3 a bug.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from popproj.annual import Run
    from popproj.config import City

Command = TypeVar("Command", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path)
_EXISTING = click.Path(exists=True, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # an old console that lacks a character shows another one, and goes on
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        cli.main(args=words, prog_name="popproj", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped. Files written before are as they were.", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        sys.exit(_told(error, debug="--debug" in words))


def _told(error: Exception, *, debug: bool) -> int:
    from popproj.schema import InputError

    if isinstance(error, InputError):
        click.echo(str(error), err=True)
        return 1
    if debug:
        traceback.print_exception(error)
    if isinstance(error, OSError) and error.filename:
        click.echo(
            f"{error.filename}: it must be possible to read and write here, and it is not "
            f"({error.strerror}). Close the file where it is open, or choose another place.",
            err=True,
        )
        return 1
    click.echo(
        f"popproj has a bug ({type(error).__name__}: {(str(error).splitlines() or [''])[0]}). "
        "Files that were there before are whole. Please report it with what this prints:\n"
        f"popproj --debug {' '.join(w for w in sys.argv[1:] if w != '--debug')}",
        err=True,
    )
    return 3


class _Group(click.Group):
    """Commands in the order in which they are used."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="popproj")
@click.option("--debug", is_flag=True, help="Show the traceback of a bug.")
def cli(debug: bool) -> None:
    """Population projections for small districts (小地域将来人口推計).

    Start with `popproj demo`, then `popproj init --from YOUR FILES…`.
    CITY is a city.toml, or the folder that holds one.
    """


def _city(command: Command) -> Command:
    """Give a command its CITY and --data."""
    command = click.argument("city", type=_EXISTING)(command)
    return click.option(
        "--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder that the file names in CITY are relative to. Default: that of CITY.",
    )(command)  # fmt: skip


@cli.command()
@click.argument("out", type=_FOLDER, default=Path("popproj-demo"))
def demo(out: Path) -> None:
    """Run everything on the invented sample city: see what comes out."""
    from popproj import sample
    from popproj.config import load_city

    with _progress() as tell:
        tell("inventing a port city and ten years of its register")
        sample.write(sample.simulate(), out / "input")
        city = load_city(out / "input")
        done, files = _run_and_publish(city, out, tell)
    _report(done, files)
    click.echo(
        f"\nNext: open {out / 'age_groups.csv'} in Excel and {out / 'districts.gpkg'} in a GIS;\n"
        f"look at {out / 'input' / 'city.toml'}, change it, and run it again with\n"
        f"  popproj run {out / 'input'} -o {out}\n"
        "For your own city: popproj init --from YOUR FILES…"
    )


@cli.command()
@click.option("--from", "guessing", is_flag=True, help="Guess from the FILES that follow.")
@click.argument("files", nargs=-1, type=_EXISTING)
@click.option("-o", "out", type=_FILE, default=Path("city.toml"), show_default=True)
@click.option("--lang", type=click.Choice(["ja", "en"]), help="Language of the comments.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(guessing: bool, files: tuple[Path, ...], out: Path, lang: Any, force: bool) -> None:
    """Write a commented city.toml.

    `popproj init` writes one that explains every key. `popproj init --from FILES…` looks into your
    files, guesses layout, columns and encoding, and writes the guesses down for you to check.
    """
    if guessing != bool(files):
        raise click.UsageError(
            "--from goes with the files to look into: popproj init --from FILES…"
        )
    from popproj.config import template
    from popproj.publish.result import replacing
    from popproj.readers.guess import guess

    if out.is_dir():
        out = out / "city.toml"
    if out.exists() and not force:
        raise click.UsageError(f"{out} is there already. Give another -o, or --force.")
    text = guess(files, out.parent, lang) if guessing else template(lang)
    with replacing(out) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
    click.echo(f"{out} written. Read it, correct it, then: popproj check {out}")


@cli.command()
@_city
@click.option("--notes", type=click.IntRange(0), default=40, show_default=True,
              help="How many notes to print; 0 prints all.")  # fmt: skip
def check(city: Path, data: Path | None, notes: int) -> None:
    """Read everything, say what was understood, and whether the books balance."""
    from popproj.annual import check
    from popproj.config import load_city

    with _progress() as tell:
        given, books = check(load_city(city, data), tell)
    population = given.books["population"]
    last = population.isel(time=-1)
    click.echo(
        f"{given.city.name}: {_people(last.sum())} residents in {last.sizes['district']} districts "
        f"on {_day(last)}; {population.sizes['time']} yearly counts used\n"
    )
    click.echo(_books(books))
    for name in ("births", "deaths"):
        if f"ward_{name}" in given.books:
            click.echo("\n" + _beside_the_wards(given.books, name))
    click.echo("\n" + _tiers(given.books))
    shown = given.notes if notes == 0 else given.notes[:notes]
    click.echo(f"\nWhat was interpreted ({len(given.notes)} notes):")
    for note in shown:
        click.echo(f"- {note}")
    if len(shown) < len(given.notes):
        click.echo(f"… {len(given.notes) - len(shown)} more: --notes 0 prints all.")
    click.echo("\nNothing is wrong with the files. Next: popproj run")


@cli.command()
@_city
@click.option("-o", "out", type=_FILE, required=True, help="NetCDF file to write.")
def rates(city: Path, data: Path | None, out: Path) -> None:
    """Estimate the rates of the past and write them to a file."""
    from popproj.annual import rates
    from popproj.config import load_city
    from popproj.publish.result import write_result

    with _progress() as tell:
        estimated = rates(load_city(city, data), tell)
        tell("writing")
        write_result(estimated, None, out)
    click.echo(_levels(estimated))
    click.echo(f"\n{out} written.")


@cli.command()
@_city
@click.option("-o", "out", type=_FOLDER, required=True, help="Folder to write into.")
@click.option("--horizon", type=click.IntRange(1, 100), help="Years. Default: city.toml's.")
@click.option("--scenario", help="Name of a scenario of city.toml. Default: the first.")
def run(
    city: Path, data: Path | None, out: Path, horizon: int | None, scenario: str | None
) -> None:
    """Run the annual projection."""
    from popproj.config import load_city

    with _progress() as tell:
        done, files = _run_and_publish(
            load_city(city, data), out, tell, horizon=horizon, scenario=scenario
        )
    _report(done, files)


@cli.command()
@click.argument("out", type=_FOLDER)
@click.option("--full", is_flag=True, help="9 wards, 160 districts, 1.5 million residents.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another history.")
@click.option("--records", is_flag=True, help="Write resident and event records too.")
def sample(out: Path, full: bool, seed: int, records: bool) -> None:
    """Write the invented sample city as the files a city hands over."""
    from popproj import sample

    with _progress() as tell:
        tell("inventing a port city and ten years of its register")
        files = sample.write(sample.simulate(full, seed), out, records=records)
    for file in files:
        click.echo(str(file))
    click.echo(f"\nNext: popproj check {out}")


class _SeveralNumbers(click.Command):
    """A command whose options take several numbers: --launch 2007 2012, or 2007,2012."""

    several = ("--launch", "--horizon")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        option = ""
        for word in args:
            name, equals, value = word.partition("=")
            numbers = (value if equals else word).replace(",", " ").split()
            if name in self.several:
                option = name
            elif word.startswith("-") or not all(n.isdecimal() for n in numbers):
                option = ""
            if not option:
                spread.append(word)
            elif equals or word != option:
                spread += [part for n in numbers for part in (option, n)]
        return super().parse_args(ctx, spread)


@cli.command(cls=_SeveralNumbers)
@click.argument("city", required=False, type=_EXISTING)
@click.option("--population", "table", type=_EXISTING, help="A stock table instead of a CITY.")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder that the file names in CITY are relative to.")  # fmt: skip
@click.option("--launch", "launches", type=int, multiple=True, required=True, metavar="YEAR...",
              help="Years from whose last count to forecast.")  # fmt: skip
@click.option("--horizon", "horizons", type=int, multiple=True, required=True, metavar="YEARS...",
              help="How many years ahead.")  # fmt: skip
@click.option("--groups", help="Age groups, as total,0-4,75+. Default: those that fit the ages.")
@click.option("--min-population", type=float, default=500, show_default=True,
              help="Areas of fewer people are left out.")  # fmt: skip
@click.option("--json", "out", type=_FILE, help="File to write the scores to, as a JSON list.")
def backtest(
    city: Path | None,
    table: Path | None,
    data: Path | None,
    launches: tuple[int, ...],
    horizons: tuple[int, ...],
    groups: str | None,
    min_population: float,
    out: Path | None,
) -> None:
    """Forecast from past counts, and compare with what came and with simple methods.

    Of every launch only the counts up to it are seen: stocks, no events.
    """
    if (city is None) == (table is None):
        raise click.UsageError("Give a CITY or --population TABLE, one of the two.")
    from popproj import evaluation
    from popproj.annual import backtest, city_stocks, table_stocks
    from popproj.config import load_city
    from popproj.publish.result import replacing

    with _progress() as tell:
        tell("reading the stocks")
        stocks = table_stocks(table) if table else city_stocks(load_city(city or "", data), tell)
        result = backtest(
            stocks,
            launches,
            horizons,
            None if groups is None else groups.split(","),
            min_population=min_population,
            progress=tell,
        )
    for note in result.attrs["notes"]:
        click.echo(str(note), err=True)
    click.echo(evaluation.text_table(result))
    if out is not None:
        with replacing(out) as beside:
            beside.write_text(evaluation.to_json(evaluation.rows(result)), encoding="utf-8")
        click.echo(f"{out} written.", err=True)


# --- what is shown ---


def _progress() -> AbstractContextManager[Callable[[str], None]]:
    """A line on stderr that says what is being done; plain lines where that is not a terminal."""
    from contextlib import contextmanager

    @contextmanager
    def telling() -> Any:
        if not sys.stderr.isatty():
            yield lambda what: click.echo(f"… {what}", err=True)
            return
        from rich.console import Console

        console = Console(stderr=True)
        with console.status("starting") as status:

            def show(what: str) -> None:
                console.print(f"[dim]… {what}")
                status.update(what)

            yield show

    return telling()


def _run_and_publish(
    city: City, out: Path, tell: Callable[[str], None], **options: Any
) -> tuple[Run, list[Any]]:
    from popproj.annual import run
    from popproj.config import language
    from popproj.publish.tables import publish

    done = run(city, progress=tell, **options)
    tell("writing")
    files = publish(
        done.projection,
        done.given.districts,
        out,
        compress=city.result.compress,
        csv_encoding=city.result.csv_encoding,
        lang=language(city),
    )
    return done, files


def _report(done: Run, files: list[Any]) -> None:
    from popproj.indicators import age_groups
    from popproj.publish.tables import base_position

    people = age_groups(done.projection["population"], ["total", "0-5", "6-11", "65+", "75+"])
    base = base_position(done.projection)
    people = people.sum(["sex", "district"]).isel(time=[base, -1])
    first, last = (_day(people.isel(time=i)) for i in (0, 1))
    click.echo(_levels(done.rates))
    click.echo(f"\n{'':12}{first:>14}{last:>14}{'change':>10}")
    for group in people["age_group"].to_numpy():
        a, b = people.sel(age_group=group).to_numpy()
        click.echo(f"{group:12}{_people(a):>14}{_people(b):>14}{(b / a - 1):>+10.1%}")
    future = done.projection["year"] >= done.projection.attrs["base_year"]
    cut = float(done.projection["adjustment"].where(future).sum())
    if cut > 0.5:
        click.echo(
            f"{_people(cut)} people were added where net migration would have emptied cells."
        )
    click.echo(f"\nWritten ({len(done.given.notes)} notes on the input: popproj check shows them):")
    for file in files:
        click.echo(f"  {file.path}  {file.what}")
        for note in file.notes:
            click.echo(f"    {note}")


def _levels(rates: Any) -> str:
    from popproj.indicators import life_expectancy, total_fertility

    e0 = life_expectancy(rates)
    years = rates.attrs["years"]
    tfr = float(total_fertility(rates))
    return (
        f"{_tiers(rates)}\nRates of {min(years)}–{max(years)}: TFR {tfr:.2f}, "
        f"e0 {float(e0.sel(sex='female')):.1f} (female) {float(e0.sel(sex='male')):.1f} (male)"
    )


def _tiers(dataset: Any) -> str:
    import json

    tiers = json.loads(dataset.attrs["tiers"])
    return "\n".join(f"{component}: {told}" for component, told in tiers.items())


def _books(books: Any) -> str:
    from popproj.schema import VARIABLES

    shown = books.copy()
    for column in shown.select_dtypes("number"):
        shown[column] = shown[column].map(lambda v: f"{v:,.1f}".removesuffix(".0"))
    headings = {c: c.replace("_", " ") for c in shown if c in VARIABLES}
    return str(shown.rename(columns=headings).T.to_string())


def _beside_the_wards(books: Any, name: str) -> str:
    counted, estimated = books[f"ward_{name}"], books[f"ward_{name}_estimated"]
    known = estimated.notnull() & counted.notnull()
    counted, estimated = (a.where(known).sum("ward_margin") for a in (counted, estimated))
    lines = [f"{name} of the wards: counted, estimated from the stocks, difference"]
    for year in known["ward_year"].to_numpy()[known.any("ward_margin").to_numpy()]:
        a, b = float(counted.sel(ward_year=year)), float(estimated.sel(ward_year=year))
        lines.append(f"{year:6}{_people(a):>10}{_people(b):>10}{b / a - 1:>+8.1%}")
    return "\n".join(lines)


def _people(count: Any) -> str:
    return f"{float(count):,.0f}"


def _day(stock: Any) -> str:
    import numpy as np

    return str(np.datetime_as_string(stock["count_date"].to_numpy(), unit="D"))
