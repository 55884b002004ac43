"""The official SDKs, each behind one function that takes a body and whether to stream."""

import asyncio
import contextlib

import anthropic
import httpx2
import openai
from gateway import VIRTUAL
from google import genai
from google.genai import errors as google
from node import Node, NodeError
from speakers import Chat, Failed, GenerateContent, Messages, Responses

KEY = VIRTUAL["main"]
# What is raised when a stream breaks off: an error of the SDK, or that of the connection.
BROKEN = (openai.APIError, anthropic.APIError, google.APIError, NodeError, Failed, httpx2.TransportError)


class Sdks:
    """One speaker for each client that is tested."""

    names = ["chat", "responses", "anthropic", "gemini", "gemini-async", "node-chat", "node-responses", "node-anthropic"]

    def __init__(self, url: str):
        self.url = url
        self.stack = contextlib.ExitStack()
        settings = {"api_key": KEY, "max_retries": 0, "timeout": 15}
        self.openai = self.stack.enter_context(openai.OpenAI(base_url=f"{url}/v1", **settings))
        self.anthropic = self.stack.enter_context(anthropic.Anthropic(base_url=url, **settings))
        self.gemini = self.google("v1")
        self.stack.callback(self.gemini.close)
        self.node = self.stack.enter_context(Node(url, KEY))
        self.speakers = {
            "chat": Chat(raw(self.openai.chat.completions)),
            "responses": Responses(raw(self.openai.responses)),
            "anthropic": Messages(raw(self.anthropic.messages)),
            "gemini": GenerateContent(self.generate),
            "gemini-async": GenerateContent(self.generate_async),
            "node-chat": Chat(self.node.of("chat", Chat)),
            "node-responses": Responses(self.node.of("responses", Responses)),
            "node-anthropic": Messages(self.node.of("anthropic", Messages)),
        }

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def google(self, version):
        return genai.Client(api_key=KEY, http_options={"base_url": self.url, "api_version": version, "timeout": 15_000})

    def generate(self, body, stream):
        if stream:
            return self.gemini.models.generate_content_stream(**body), {}
        return self.gemini.models.generate_content(**body), {}

    def generate_async(self, body, stream):
        """As older versions of the SDK ask, too: below `v1beta`."""

        async def ask():
            async with self.google("v1beta").aio as client:
                if stream:
                    return [chunk async for chunk in await client.models.generate_content_stream(**body)]
                return await client.models.generate_content(**body)

        return asyncio.run(ask()), {}


def raw(resource):
    """A method of an SDK that shows the headers of the answer too."""

    def create(body, stream):
        answer = resource.with_raw_response.create(**body, stream=stream)
        return answer.parse(), answer.headers

    return create
