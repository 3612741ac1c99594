"""Options of the command line, made from the declarations of settings, and those that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from raytt.settings.declaration import Setting, Settings, settings_of

RunPlace = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's directory, as path or URI, or a file that --json wrote.", show_default=False
    ),
]
TaskPlace = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="A file or dotted module with `task`, `search_space` and, if wanted, `target`; FILE::NAME for a task "
        "under another name.",
        show_default=False,
    ),
]
TargetText = Annotated[
    str | None,
    typer.Option(
        "--target",
        help="When training is done: a fraction of the initial training loss, or KIND=VALUE with KIND loss, "
        "accuracy, val_loss, val_accuracy, or plateau (plateau=0.01@3: falls by less than 1 % in 3 epochs). "
        "Default: the task's own target, else val_loss_ratio=0.3 with validation data, 0.1 without.",
        show_default=False,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Pick:
    """Beside the type of a command's parameter: which fields of the settings class become options, and how."""

    only: tuple[str, ...] = ()
    """These; none: all."""
    without: tuple[str, ...] = ()
    """But not these."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of this command, instead of those of the class."""

    def settings(self, owner: type[Settings]) -> list[Setting]:
        """The fields."""
        return [s for s in settings_of(owner) if (not self.only or s.name in self.only) and s.name not in self.without]


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the options of their fields in place of parameters that are settings objects.

    Args:
        command: A function with keyword-only parameters; those whose type is a subclass of `Settings` (with a `Pick`
            beside it, if not all of its fields are wanted) are built from the options.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[type[Settings], list[Setting]]] = {}
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        owner, pick = _group(hints[name])
        if owner is None:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        chosen = pick.settings(owner)
        groups[name] = owner, chosen
        parameters += [_option(setting, pick.defaults.get(setting.name, setting.default)) for setting in chosen]

    @wraps(command)
    def run(**values: Any) -> None:
        for name, (owner, chosen) in groups.items():
            values[name] = owner(**{s.name: _value(s, values.pop(s.name)) for s in chosen})
        command(**values)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def arguments_of(*given: Settings) -> list[str]:
    """The options that say what these settings say, where it is not the default."""
    found: list[str] = []
    for settings in given:
        for setting in settings_of(type(settings)):
            value = getattr(settings, setting.name)
            if value == setting.default:
                continue
            if setting.kind is bool:
                found.append(setting.flag if value else _negated(setting))
                continue
            for one in value if setting.many else (value,):
                found += [setting.flag, setting.rule.write(one)]
    return found


def _group(hint: Any) -> tuple[type[Settings] | None, Pick]:
    kind, *others = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if not (isinstance(kind, type) and issubclass(kind, Settings)):
        return None, Pick()
    return kind, next((other for other in others if isinstance(other, Pick)), Pick())


def _option(setting: Setting, default: Any) -> inspect.Parameter:
    """The parameter from which typer makes the option. Bounds are only shown: the settings class checks them."""
    kind: Any = setting.kind
    flags = [setting.flag, *([] if setting.rule.also is None else [setting.rule.also])]
    if kind is bool and setting.default:
        flags = [f"{setting.flag}/{_negated(setting)}"]
    if setting.many:
        kind, default = list[kind], None
    if setting.many or setting.optional:
        kind = kind | None
    option = typer.Option(
        *flags,
        help=setting.help,
        metavar=_form(setting),
        show_default=default is not None and default is not False,
        autocompletion=setting.rule.complete or (_completer(setting.choices) if setting.choices else None),
        rich_help_panel=setting.owner.PANEL,
    )
    return inspect.Parameter(
        setting.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option]
    )


def _form(setting: Setting) -> str | None:
    rule = setting.rule
    if rule.form is not None or setting.kind is bool:
        return rule.form
    if setting.choices:
        return "|".join(setting.choices)
    name = {int: "INTEGER", float: "NUMBER", str: "TEXT"}[setting.kind]
    if rule.at_most is not None:
        name = f"{name} ≤ {rule.at_most:g}"
    if rule.at_least is not None:
        return f"{name} ≥ {rule.at_least:g}"
    return name if rule.above is None else f"{name} > {rule.above:g}"


def _completer(choices: tuple[str, ...]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _negated(setting: Setting) -> str:
    return f"--no-{setting.flag.removeprefix('--')}"


def _value(setting: Setting, given: Any) -> Any:
    """What the settings class takes, of what typer gives."""
    if setting.many:
        return tuple(given or ())
    return given if given is None or setting.rule.read is None else setting.rule.read(given)
