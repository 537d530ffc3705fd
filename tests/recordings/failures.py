"""Which of the recorded interactions end in a failure, and in which."""

from __future__ import annotations

from tests.support.recordings import INTERACTIONS

REJECTED = (400, "invalid_request_error", "upstream_rejected", None)
UNKNOWN_MODEL = (404, "invalid_request_error", "model_not_found", "model")
RATE_LIMITED = (429, "rate_limit_error", "rate_limit_exceeded", None)
MALFORMED = (502, "server_error", "upstream_malformed", None)
INTERRUPTED = (503, "server_error", "upstream_interrupted", None)

FAILURES: dict[tuple[str, int], tuple[int, str, str, str | None]] = {
    ("anthropic/test_anthropic_explicit_effort_xhigh_unsupported_model_errors", 0): REJECTED,
    ("anthropic/test_model_name_suggestions-test_model_name_suggestion-anthropic", 0): UNKNOWN_MODEL,
    ("demo-endpoints/test_text_response", 0): MALFORMED,  # an echo server, no model
    ("google/test_model_name_suggestions-test_model_name_suggestion-google", 0): UNKNOWN_MODEL,
    ("google-vertex/test_model_sees_multiple_images-google_vertex", 1): REJECTED,
    ("google-vertex/test_multimodal_tool_return_matrix-direct-url-image-google_vertex", 2): REJECTED,
    ("groq/test_model_name_suggestions-test_model_name_suggestion-groq", 0): UNKNOWN_MODEL,
    ("groq/test_tool_use_failed_error_streaming_with_text", 0): REJECTED,  # midway, after text
    ("groq/test_tool_use_failed_error_with_text", 0): REJECTED,
    ("openai/test_model_name_suggestions-test_model_name_suggestion-openai-chat", 0): UNKNOWN_MODEL,
    ("openai/test_multimodal_tool_return_matrix-tool_return_content-binary-audio-openai_chat", 1): (
        *REJECTED[:3],
        "messages[3]",
    ),
    ("openai/test_openai_web_search_tool_model_not_supported", 0): (*REJECTED[:3], "web_search_options"),
    ("openrouter/test_openrouter_errors_raised", 0): RATE_LIMITED,
    ("openrouter/test_openrouter_errors_raised", 1): RATE_LIMITED,
    ("openrouter/test_openrouter_errors_raised", 2): RATE_LIMITED,
    ("snowflake/test_snowflake_thinking_streaming", 0): INTERRUPTED,  # no finish reason
}
"""HTTP status, `type`, `code` and `param`; every other interaction is answered."""

MIDWAY = {
    ("groq/test_tool_use_failed_error_streaming_with_text", 0),
    ("snowflake/test_snowflake_thinking_streaming", 0),
}
"""Those that come within a stream, where REST has sent its status already."""

ANSWERED = [interaction for key, interaction in INTERACTIONS.items() if key not in FAILURES]
"""The others."""
