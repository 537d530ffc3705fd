"""Projects: models under one name, with what belongs to them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service import project_settings as settings
from service.projects.campaign import Arm, Campaign, P

T = TypeVar("T")
"""Server-side tools, of which only those know more who run them."""


@dataclass(frozen=True)  # slots, frozen and generic at once don't go together in Python 3.11
class Project(Generic[P, T]):
    """Models under one name, with what belongs to them."""

    name: str
    default_model: str
    """One of `models`, by its name there."""
    models: Mapping[str, str]
    """Ids of configured models, by the name that they have in the project; in the order of the configuration."""
    campaigns: Mapping[str, Campaign[P]] = field(default_factory=dict)
    """By key."""
    prompt: P | None = None
    """Its system prompt, where an arm has no other."""
    tools: T | None = None
    """Its server-side tools; None where it has none."""


def project_of(
    name: str, section: settings.Project, prompt_of: Callable[[settings.SystemPrompt], P], tools: T | None = None
) -> Project[P, T]:
    """A project as it is configured.

    Args:
        name: Its own.
        section: What is configured for it; checked.
        prompt_of: Makes its system prompt, and those of arms.
        tools: Its server-side tools.
    """

    def prompt(given: settings.SystemPrompt | None) -> P | None:
        return None if given is None else prompt_of(given)

    def campaign(key: str, given: settings.Campaign) -> Campaign[P]:
        arms = {arm: Arm(arm, each.model, each.weight, prompt(each.system_prompt)) for arm, each in given.arms.items()}
        return Campaign(name, key, arms, given.id and given.id.lower(), given.start, given.end)

    return Project(
        name=name,
        default_model=section.default_model,
        models=section.models,
        campaigns={key: campaign(key, given) for key, given in section.campaigns.items()},
        prompt=prompt(section.system_prompt),
        tools=tools,
    )
