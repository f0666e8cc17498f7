"""What is known about a user: saved, found by meaning, read, deleted.

    cenote serve --store sqlite:./data &
    pip install ./clients/python
    python clients/python/examples/long_term_memory.py [URL]

The names in the sample are those of a Databricks workspace. A server that encodes with another model says so, and does the same with its own.
"""

from __future__ import annotations

import os
import sys

from cenote import LongTermMemory


def main() -> None:
    if len(sys.argv) > 1:
        os.environ["CENOTE_SERVER"] = sys.argv[1]

    # Initialize long-term memory
    memory = LongTermMemory(
        instance_name="health_monitor_lakebase",
        embedding_endpoint="databricks-gte-large-en",
        embedding_dims=1024
    )

    # Save user preference
    memory.save_memory(
        user_id="user@example.com",
        memory_key="preferred_workspace",
        memory_data={
            "workspace_id": "12345",
            "workspace_name": "Production",
            "preference_date": "2025-01-15"
        }
    )

    # Search for relevant memories
    results = memory.search_memories(
        user_id="user@example.com",
        query="What workspace does the user prefer?",
        limit=5
    )

    for item in results:
        print(f"Key: {item.key}, Score: {item.score}")
        print(f"Value: {item.value}")

    # Get specific memory
    pref = memory.get_memory("user@example.com", "preferred_workspace")
    print(f"Preferred workspace: {pref}")

    # Delete memory
    memory.delete_memory("user@example.com", "preferred_workspace")


if __name__ == "__main__":
    main()
