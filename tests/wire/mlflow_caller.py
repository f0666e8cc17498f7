"""A process of its own, since MLflow is large: asks a server as MLflow's deployments client for Databricks does, and puts what comes through MLflow's types, which are
its validators.

    mlflow_caller.py < {"calls": [{"host": URL, "inputs": {..}, "stream": false, "form": "responses" | "chat" | "choices"}]}

Prints a list, for each call what came: {"reply": ..} or {"events": [..]}, or {"error": ..}."""
import json
import os
import sys

from mlflow.deployments import get_deploy_client
from mlflow.types.agent import ChatAgentChunk, ChatAgentResponse
from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent


def checked(form, value, stream):
    if form == "responses":
        (ResponsesAgentStreamEvent if stream else ResponsesAgentResponse)(**value)
    if form == "chat":
        (ChatAgentChunk if stream else ChatAgentResponse)(**value)
    return value


def call(client, host, inputs, form, stream):
    os.environ["DATABRICKS_HOST"] = host
    try:
        if not stream:
            return {"reply": checked(form, dict(client.predict(endpoint="any", inputs=inputs)), False)}
        return {"events": [checked(form, e, True) for e in client.predict_stream(endpoint="any", inputs=inputs)]}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"}


client = get_deploy_client("databricks")
print(json.dumps([call(client, **c) for c in json.load(sys.stdin)["calls"]]))
