"""What would serve: which versions the configs choose, and what their files say. Nothing is loaded."""

from collections.abc import Iterator

from rnnserve.server.examining.finding import OK, PROBLEM, WARNING, Finding
from rnnserve.server.settings import Settings

__all__ = ["models"]


def models(settings: Settings) -> Iterator[Finding]:
    """Look at every model of the repository.

    Raises:
        StartError: If there is no repository, or no model in it.
    """
    from rnnserve.server.repository.examination import ExaminedModel, examine
    from rnnserve.server.repository.repository import Repository
    from rnnserve.server.signing.gate import open_gate

    repository = Repository(
        settings.repository,
        only=settings.model_name,
        wanted=settings.wanted_models,
        control=settings.model_control,
        gate=open_gate(settings, will_serve=False),
    )

    def findings(model: ExaminedModel) -> Iterator[Finding]:
        for number, fault in model.faults.items():
            said = f"{model.name} version {number}: {fault}" if number else f"{model.name}: {fault}"
            level = WARNING if model.serves else PROBLEM
            yield Finding(
                level, "repository", said, "`rnnserve inspect` shows it; publish it anew, or remove its folder"
            )
        if model.serves:
            served, others = ", ".join(map(str, model.serves)), len(model.found) - len(model.serves)
            said = f"{model.name}: would serve version {served}" + (f", and not {others} others" if others else "")
            yield Finding(OK, "repository", f"{said}; the server tries it before it serves")
        refused = {number: reason for number, reason in model.refused.items() if number not in model.faults}
        if refused and 0 not in model.faults:
            numbers, reason = ", ".join(map(str, refused)), refused[max(refused)]
            said = f"{model.name}: would refuse version {numbers}, should it be wanted: {reason}"
            yield Finding(WARNING, "signatures", said, "sign it to keep a way back (docs/signing.md)")

    examined = examine(repository, allow_unproven=settings.allow_unproven)
    wanted = settings.wanted_models
    for model in examined:
        if wanted is None or model.name in wanted:
            yield from findings(model)
    if not examined:
        yield Finding(
            WARNING,
            "repository",
            f"{settings.repository} holds no model yet (--model-control {settings.model_control})",
        )
    elif not any(model.serves for model in examined) and (wanted is None or wanted):
        yield Finding(PROBLEM, "repository", "no model would serve, so that the server would not start")
