"""Projects: what their names mean, and to whom; and what is made of their section of the configuration."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from service import project_settings as settings
from service.errors import Reason, RequestError
from service.projects.campaign import Arm, Campaign
from service.projects.project import Project, project_of
from service.projects.resolving import Resolution, listed, resolve

MODELS = ("gpt-4o", "smollm2", "clash", "support/taken", "org/gpt")
SUPPORT = Project[str, None]("support", "fast", {"fast": "smollm2", "smart": "gpt-4o", "taken": "gpt-4o"})
SALES = Project[str, None]("sales", "gpt", {"gpt": "org/gpt"})
CLASH = Project[str, None]("clash", "a", {"a": "gpt-4o"})
PROJECTS = {each.name: each for each in (SUPPORT, SALES, CLASH)}
BOUND = frozenset({"support"})


def meaning(resolution: Resolution[str, None]) -> tuple[str, str | None, str | None]:
    project = resolution.project.name if resolution.project else None
    return resolution.model_id, project, resolution.alias


@pytest.mark.parametrize(
    ("name", "allowed", "meant"),
    [
        ("gpt-4o", None, ("gpt-4o", None, None)),
        ("org/gpt", None, ("org/gpt", None, None)),
        ("support", None, ("smollm2", "support", "fast")),
        ("support/fast", None, ("smollm2", "support", "fast")),
        ("support/smart", None, ("gpt-4o", "support", "smart")),
        ("sales", None, ("org/gpt", "sales", "gpt")),
        # A model of the same id is meant.
        ("clash", None, ("clash", None, None)),
        ("clash/a", None, ("gpt-4o", "clash", "a")),
        ("support/taken", None, ("support/taken", None, None)),
        # For a bound key there is none.
        ("support", BOUND, ("smollm2", "support", "fast")),
        ("support/smart", BOUND, ("gpt-4o", "support", "smart")),
        ("support/taken", BOUND, ("gpt-4o", "support", "taken")),
        ("clash", frozenset({"clash"}), ("gpt-4o", "clash", "a")),
        ("sales/gpt", frozenset({"sales", "support"}), ("org/gpt", "sales", "gpt")),
    ],
)
def test_a_name_means_a_model_of_its_own_or_of_a_project(
    name: str, allowed: frozenset[str] | None, meant: tuple[str, str | None, str | None]
) -> None:
    assert meaning(resolve(name, MODELS, PROJECTS, allowed)) == meant


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        *((name, None) for name in ("", "/", "nothing", "support/", "support/none", "support/fast/x", "/fast", "fast")),
        *((name, None) for name in ("Support", " support", "none/fast", "org", "support/smollm2")),
        # What is there, for others.
        *((name, BOUND) for name in ("gpt-4o", "org/gpt", "sales", "sales/gpt", "clash", "clash/a", "none", "")),
        *((name, frozenset[str]()) for name in ("gpt-4o", "support", "support/fast")),
        ("gone", frozenset({"gone"})),
    ],
)
def test_what_does_not_exist_and_what_a_key_may_not_ask_answer_alike(name: str, allowed: frozenset[str] | None) -> None:
    with pytest.raises(RequestError) as raised:
        resolve(name, MODELS, PROJECTS, allowed)
    with pytest.raises(RequestError) as of_nothing:
        resolve(name, (), {}, None)

    error, expected = raised.value, of_nothing.value
    assert (error.reason, error.param, error.message) == (Reason.MODEL_NOT_FOUND, "model", expected.message)


@pytest.mark.parametrize(
    ("allowed", "names"),
    [
        (
            None,
            [
                *MODELS,
                *("support", "support/fast", "support/smart"),
                *("sales", "sales/gpt"),
                "clash/a",
            ],
        ),
        (BOUND, ["support", "support/fast", "support/smart", "support/taken"]),
        (frozenset({"clash", "sales"}), ["sales", "sales/gpt", "clash", "clash/a"]),
        (frozenset({"gone"}), []),
        (frozenset[str](), []),
    ],
)
def test_what_is_listed_is_what_can_be_asked(allowed: frozenset[str] | None, names: list[str]) -> None:
    found = list(listed(MODELS, PROJECTS, allowed))

    assert [name for name, _ in found] == names
    for name, model_id in found:
        assert resolve(name, MODELS, PROJECTS, allowed).model_id == model_id


def test_a_project_is_made_of_its_section() -> None:
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    section = settings.Project(
        default_model="fast",
        models={"fast": "smollm2", "smart": "gpt-4o"},
        system_prompt=settings.SystemPrompt(template="Be kind."),
        campaigns={
            "trial": settings.Campaign(
                arms={
                    "as-ever": settings.Arm(model="fast", weight=3),
                    "brief": settings.Arm(model="smart", system_prompt=settings.SystemPrompt(template="Be brief.")),
                },
                id="0B8F6F0E-6A53-4C39-8D1C-3F1C9F5A7C21",
                start=start,
                end=end,
            )
        },
    )

    project = project_of("support", section, lambda prompt: f"<{prompt.template}>", "tools")

    arms = {"as-ever": Arm[str]("as-ever", "fast", 3), "brief": Arm("brief", "smart", 1, "<Be brief.>")}
    campaign = Campaign("support", "trial", arms, "0b8f6f0e-6a53-4c39-8d1c-3f1c9f5a7c21", start, end)
    assert project == Project("support", "fast", section.models, {"trial": campaign}, "<Be kind.>", "tools")


def test_a_project_may_have_models_alone() -> None:
    section = settings.Project(default_model="a", models={"a": "m"})

    project: Project[str, str] = project_of("p", section, lambda _prompt: "")

    assert project == Project("p", "a", {"a": "m"})
