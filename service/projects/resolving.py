"""From what a request names to who answers it: models, projects and campaigns. Pure.

A name is a model's id, or `PROJECT/MODEL`, or `PROJECT` for its default model. Where a model has the same id, the
model is meant. For a key that is bound to projects there are no models but theirs, and no other projects: what it
may not ask answers exactly as what does not exist.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic

import msgspec

from service.errors import Reason, RequestError
from service.projects.campaign import Arm, Campaign, P
from service.projects.project import Project, T
from service.routing import model_not_found

Allowed = frozenset[str] | None
"""The projects that a key is bound to; None for a key that may ask everything."""


class Resolution(msgspec.Struct, Generic[P, T], frozen=True):
    """Which model a request's `model` names."""

    model_id: str
    """Of a configured model."""
    project: Project[P, T] | None = None
    """That it was named by; None where it was named by its own id."""
    alias: str | None = None
    """Its name in the project."""


@dataclass(frozen=True, slots=True)
class Choice(Generic[P]):
    """What a campaign has chosen for a request."""

    campaign: Campaign[P]
    arm: Arm[P]


def resolve(
    name: str, models: Container[str], projects: Mapping[str, Project[P, T]], allowed: Allowed = None
) -> Resolution[P, T]:
    """The model that `name` means.

    Args:
        name: As a request gives it.
        models: Ids of the configured models.
        projects: By name.
        allowed: Of the caller's key.

    Raises:
        RequestError: MODEL_NOT_FOUND, param `model`.
    """
    if allowed is None and name in models:
        return Resolution(name)
    project_name, slash, alias = name.partition("/")
    project = projects.get(project_name)
    if project is None or (allowed is not None and project_name not in allowed):
        raise model_not_found(name)
    alias = alias if slash else project.default_model
    model_id = project.models.get(alias)
    if model_id is None:
        raise model_not_found(name)
    return Resolution(model_id, project, alias)


def listed(
    models: Iterable[str], projects: Mapping[str, Project[P, T]], allowed: Allowed = None
) -> Iterator[tuple[str, str]]:
    """Every name that `resolve` takes, each once, and the id of the model that it means: models first."""
    ids = frozenset[str]()
    if allowed is None:
        ids = frozenset(own := tuple(models))
        yield from ((model_id, model_id) for model_id in own)
    for project in projects.values():
        if allowed is not None and project.name not in allowed:
            continue
        named = {project.name: project.models[project.default_model]}
        named |= {f"{project.name}/{alias}": model_id for alias, model_id in project.models.items()}
        yield from ((name, model_id) for name, model_id in named.items() if name not in ids)


def choose(
    project: Project[P, T] | None,
    ab_campaign: str,
    *,
    user: str = "",
    session_id: str = "",
    completion_id: str,
    now: datetime,
) -> Choice[P] | None:
    """The arm that a request takes part in; None where it names no campaign, or one that does not run now.

    The unit of assignment is the first of `user`, `session_id` and `completion_id` that is there.

    Args:
        project: That the request's model belongs to, if any.
        ab_campaign: Id or key of the campaign, or "".
        user: The request's, or "".
        session_id: As the request gave it, or "": one that was made for it says nothing of who calls.
        completion_id: Of the answer.
        now: With a time zone.

    Raises:
        RequestError: CAMPAIGN_NOT_FOUND, param `ab_campaign`.
    """
    if not ab_campaign:
        return None
    campaign = _campaign(project, ab_campaign)
    if not campaign.is_running(now):
        return None
    return Choice(campaign, campaign.arm_for(user or session_id.lower() or completion_id))


def _campaign(project: Project[P, T] | None, named: str) -> Campaign[P]:
    if project is None:
        raise _campaign_not_found(
            "Campaigns belong to projects, and the request's `model` is none of a project's: name it as PROJECT or "
            "PROJECT/MODEL."
        )
    if (campaign := project.campaigns.get(named)) is not None:
        return campaign
    for each in project.campaigns.values():
        if each.id == named.lower():
            return each
    raise _campaign_not_found(f"The project `{project.name}` has no campaign of that id or key.")


def _campaign_not_found(message: str) -> RequestError:
    return RequestError(Reason.CAMPAIGN_NOT_FOUND, message, param="ab_campaign")
