"""A synchronous gRPC client: `python examples/grpc_client.py [ADDRESS] [KEY]`, by default 127.0.0.1:50051.

From another project, make the stubs of `protos/` (see the README) and import those.
"""

from __future__ import annotations

import sys

import grpc

from service._gen.parley.v1.chat_service_pb2 import ChatCompletionRequest
from service._gen.parley.v1.chat_service_pb2_grpc import ChatServiceStub


def ask(chat: ChatServiceStub, question: str, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    """The answer to `question`, printed as it comes."""
    request = ChatCompletionRequest(model="smollm2", max_tokens=100)
    request.messages.add(role="user").content.string_value = question
    answer = ""
    for chunk in chat.StreamChatCompletion(request, metadata=metadata, timeout=60):
        for choice in chunk.choices:
            answer += choice.delta.content
            print(choice.delta.content, end="", flush=True)  # noqa: T201 - a program for the terminal
    print()  # noqa: T201
    return answer


def main() -> None:
    """Ask one question."""
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    metadata = (("authorization", f"Bearer {sys.argv[2]}"),) if len(sys.argv) > 2 else ()  # noqa: PLR2004
    with grpc.insecure_channel(address) as channel:
        try:
            ask(ChatServiceStub(channel), "What is the capital of France?", metadata)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")


if __name__ == "__main__":
    main()
