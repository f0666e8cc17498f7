"""A chat with {{ name }}, whose server ./run starts: python assistant.py [THREAD]

THREAD is the name of a conversation to go on with; without it a new one begins. CENOTE_SERVER says where the server is, CENOTE_API_KEY
is a key for it, CENOTE_USER says who you are (where the key does not).
"""
import getpass
import os
import sys
import uuid

import openai

client = openai.OpenAI(base_url=os.environ.get("CENOTE_SERVER", "http://127.0.0.1:8000").rstrip("/") + "/v1",
                       api_key=os.environ.get("CENOTE_API_KEY", "-"))
user = os.environ.get("CENOTE_USER") or ("" if "CENOTE_API_KEY" in os.environ else getpass.getuser())
thread = sys.argv[1] if len(sys.argv) > 1 else str(uuid.uuid4())


def say(text):
    """Prints the answer as it comes. The server keeps both, and remembers what was said before."""
    events = client.responses.create(input=text, stream=True, extra_headers={"X-Cenote-Thread": thread}, **({"user": user} if user else {}))
    for event in events:
        if event.type == "response.output_text.delta":
            print(event.delta, end="", flush=True)
        elif event.type == "response.failed":
            print()
            print(f"assistant: {event.response.error.message}", file=sys.stderr)
            return
    print()


def main():
    prompt = "> " if sys.stdin.isatty() else ""
    print(f"{{ name }}, thread {thread}; Ctrl-D ends", file=sys.stderr)
    while True:
        try:
            text = input(prompt).strip()
        except (EOFError, KeyboardInterrupt):
            return
        if not text:
            continue
        try:
            say(text)
        except openai.OpenAIError as e:
            print(f"assistant: {e}", file=sys.stderr)
        except KeyboardInterrupt:
            print()


main()
