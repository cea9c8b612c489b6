"""`/page/models`: all that the page shows of models, in one answer."""

from rnnserve.web.app.example_requests import example_request
from rnnserve.web.app.exchange import Answer, Exchange, json_answer
from rnnserve.web.app.models import described
from rnnserve.web.app.served_models import MOST_MODELS, repository_index, served_models

__all__ = ["overview"]


async def overview(exchange: Exchange) -> Answer:
    """Describe each model that serves, with a request that it takes; and say why others do not serve."""
    index = await repository_index(exchange, ready=False)  # first: it raises where the server does not answer
    served = await served_models(exchange)
    not_serving = [
        {"name": model.name, "version": model.version, "state": model.state, "reason": model.reason}
        for model in index.models
        if model.name not in served and model.state != "READY"
    ]
    return json_answer(
        {
            "models": [
                {"metadata": described(metadata), "example": example_request(metadata)} for metadata in served.values()
            ],
            "most": MOST_MODELS,
            "not_serving": not_serving[:MOST_MODELS],
        }
    )
