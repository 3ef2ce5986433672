"""A chat model that says its lines: no network, no account, two runs alike."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable


class Scripted(BaseChatModel):
    """Says line n when n lines of the model are in the history already; streams word by word. It keeps no position of its own, so a run
    that is resumed elsewhere goes on with the right line."""

    lines: Sequence[AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return self

    def _line(self, messages: list[BaseMessage]) -> AIMessage:
        return self.lines[sum(isinstance(message, AIMessage) for message in messages)].model_copy(deep=True)

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._line(messages))])

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: CallbackManagerForLLMRun | None = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        line = self._line(messages)
        words = str(line.content).split()
        for number, word in enumerate(words):
            calls = line.tool_calls if number == len(words) - 1 else []
            message = AIMessageChunk(content=word + " ", id=line.id, tool_calls=calls)
            chunk = ChatGenerationChunk(message=message)
            if run_manager:
                run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk
