"""What a client needs of the model beside its weights: config, tokenizer and chat template, as files.

An endpoint plugin of vLLM; the server is started with VLLM_PLUGINS=sda. Its route is under /v1, where vLLM asks for the key.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request

ROUTE = "/v1/sda/texts"

OF_MODEL = ("config.json", "generation_config.json")
OF_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


class Texts:
    """The entry point `sda` of the group vllm.endpoint_plugins."""

    name = "sda"
    required_tasks = None

    def attach_router(self, app: FastAPI) -> None:
        app.add_api_route(ROUTE, answer, methods=["GET"])

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        model = engine_client.model_config if engine_client is not None else None
        state.sda_texts = {} if model is None else texts_of(model, state.online_renderer.chat_template)


async def answer(request: Request) -> dict[str, Any]:
    return {"files": request.app.state.sda_texts}


def texts_of(model: Any, chat_template: str | None) -> dict[str, str]:
    """Files by name, those that are there. model: ModelConfig of vLLM; chat_template: what the server was told to use
    instead of the model's own."""
    files = {name: text_of(model.model, name, model.revision) for name in OF_MODEL}
    files |= {name: text_of(model.tokenizer, name, model.tokenizer_revision) for name in OF_TOKENIZER}
    if chat_template is not None:
        files["chat_template.jinja"] = chat_template
    return {name: text for name, text in files.items() if text is not None}


def text_of(source: str, name: str, revision: str | None) -> str | None:
    """A file of a folder or of a repository of the hub, from where the server has it; None where there is none."""
    from transformers.utils import cached_file

    found = cached_file(
        source,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found).read_text(encoding="utf-8")
